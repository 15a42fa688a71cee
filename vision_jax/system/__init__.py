"""The operating system as a run meets it: signals, disks, pages of memory."""
