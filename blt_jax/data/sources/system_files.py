"""Files and folders that systems make beside people's images."""

import re

# Folders that NAS boxes, desktop systems and their programs make, in lower
# case, and what they hold. A folder of one of these names is never a class.
# Names that a class may have (trash, cache, thumbs) are not among them.
_FOLDERS = {
  "@eadir": "thumbnails of a NAS",
  "@tmp": "work of a NAS",
  "@sharebin": "bin of a NAS",
  "@recycle": "bin of a NAS",
  "#recycle": "bin of a NAS",
  "#snapshot": "old states of a NAS",
  "~snapshot": "old states of a NAS",
  "@recently-snapshot": "old states of a NAS",
  ".snapshot": "old states of a NAS",
  ".snapshots": "old states of a disk",
  ".zfs": "old states of a disk",
  ".@__thumb": "thumbnails of a NAS",
  ".@upload_cache": "work of a NAS",
  ".streams": "work of a NAS",
  "$recycle.bin": "bin of Windows",
  "$extend": "work of Windows",
  "system volume information": "work of Windows",
  "lost+found": "what a check of a disk found",
  "lost.dir": "what a check of a disk found",
  "__macosx": "remarks of macOS",
  ".appledouble": "remarks of macOS",
  ".appledb": "work of macOS",
  ".appledesktop": "work of macOS",
  ".documentrevisions-v100": "old states of macOS",
  ".fseventsd": "work of macOS",
  ".spotlight-v100": "index of macOS",
  ".temporaryitems": "work of macOS",
  ".trashes": "bin of macOS",
  ".trash": "bin",
  ".mobilebackups": "old states of macOS",
  "temporary items": "work of macOS",
  "network trash folder": "bin of macOS",
  "thevolumesettingsfolder": "work of macOS",
  "thefindbycontentfolder": "index of macOS",
  ".thumbnails": "thumbnails",
  ".xvpics": "thumbnails",
  ".picasaoriginals": "originals of Picasa",
  ".ipynb_checkpoints": "copies of Jupyter",
  "__pycache__": "work of Python",
  ".git": "versions of Git",
  ".dropbox.cache": "work of Dropbox",
  ".stversions": "old states of Syncthing",
}
# The same for names that have a number.
_NUMBERED = (
  (re.compile(r"\.trash-\d+"), "bin of Linux"),
  (re.compile(r"found\.\d{3}"), "what a check of a disk found"),
)
_FILES = {
  "thumbs.db": "thumbnails of Windows",
  "ehthumbs.db": "thumbnails of Windows",
  "thumbs.db:encryptable": "thumbnails of Windows",
  "desktop.ini": "remarks of Windows",
  ".ds_store": "remarks of macOS",
  "icon\r": "icon of macOS",
  ".picasa.ini": "remarks of Picasa",
}


def folder_kind(name: str) -> str | None:
  """What a system keeps in a folder of this name; None for other folders."""
  name = name.lower()
  for pattern, kind in _NUMBERED:
    if pattern.fullmatch(name):
      return kind
  return _FOLDERS.get(name)


def file_kind(name: str) -> str | None:
  """What a system keeps in a file of this name; None for other files."""
  if name.startswith("._"):  # macOS writes ._1.jpg for 1.jpg on other disks.
    return "remarks of macOS"
  return _FILES.get(name.lower())
