"""Packs the files that a generator of tests has written."""
import gzip
import io
import shutil
import tarfile


def pack(folder, archive, key=None):
    """Packs all files below `folder` into `archive`, in the order of their names or of `key`, and removes `folder`.

    The bytes depend on names and contents only.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as files:
        for file in sorted((file for file in folder.rglob("*") if file.is_file()), key=key):
            entry = tarfile.TarInfo(str(file.relative_to(folder)))
            entry.size = file.stat().st_size
            files.addfile(entry, io.BytesIO(file.read_bytes()))
    archive.write_bytes(gzip.compress(packed.getvalue(), mtime=0))
    shutil.rmtree(folder)
