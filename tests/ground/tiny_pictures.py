"""A few pictures of one's own in the forms that the documentation's commands name."""

import json
import pathlib

from PIL import Image

NAMES = ("cat", "dog")
SIDE = 40
POLYGON = [[4.0, 5.0], [24.0, 5.0], [24.0, 20.0], [4.0, 20.0]]


def write(folder: pathlib.Path) -> None:
    """Writes `photos` with a folder a class and labelme's files, COCO's files, images and masks.

    `people` and `others` are such folders, too, of identities.
    """
    names = []
    for place in (*(f"photos/{name}" for name in NAMES), "images", "masks"):
        (folder / place).mkdir(parents=True)
    for place in ("people", "others"):
        (folder / place).symlink_to(folder / "photos")
    for name in ("a.jpg", "b.jpg", "painting.jpg", "photo.jpg"):
        Image.new("RGB", (SIDE, SIDE), (40, 90, 200)).save(folder / name)
    for k in range(4):
        image = Image.new("RGB", (SIDE, SIDE), (9 * k, 5, 5))
        image.save(folder / f"images/{k}.png")
        Image.new("L", (SIDE, SIDE), k % 2).save(folder / f"masks/{k}.png")
        names.append(f"{NAMES[k % 2]}/{k}.png")
        image.save(folder / "photos" / names[-1])
        shape = {"label": NAMES[k % 2], "points": POLYGON, "shape_type": "polygon"}
        labelme = {"shapes": [shape], "imagePath": f"{k}.png"}
        path = (folder / "photos" / names[-1]).with_suffix(".json")
        path.write_text(json.dumps(labelme | {"imageHeight": SIDE, "imageWidth": SIDE}))
    document = {
        "images": [{"id": k, "file_name": name} for k, name in enumerate(names)],
        "annotations": [
            {"id": k, "image_id": k, "category_id": k % 2, "bbox": [4, 5, 20, 15]}
            for k in range(len(names))
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES)],
    }
    for file in ("train.json", "val.json"):
        (folder / file).write_text(json.dumps(document))
