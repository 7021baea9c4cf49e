"""Filesystems in files: made, mounted through a loop device, and with every write to them logged.

All of it is undone when the context ends. The whole run has a mount namespace of its own (see `run.sh`), so that no
mount is left even after a SIGKILL.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable

from write_log import Counter

PATIENCE_SECONDS = 30


def undone_when_interrupted(main: Callable[[], int]) -> int:
    """Runs `main`; SIGINT ends it through its `finally`s, though a shell starts its background jobs deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return main()
    except KeyboardInterrupt:
        print("interrupted: all is undone")
        return 130


def run(*command: str) -> None:
    """Runs a command; what it said is in the error if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: status {done.returncode}: {done.stdout}{done.stderr}")


def until(holds, what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Waits for something of another process, and not for ever."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.005)


def make_ext4(image: str, size_bytes: int) -> None:
    """An empty ext4 without reserved blocks, all of its tables written, so that the kernel writes none later."""
    with open(image, "wb") as file:
        file.truncate(size_bytes)
    lazy = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    run("mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=4", "-E", lazy, image)


def copy(source: str, target: str) -> None:
    """A copy of a sparse file that shares what it can and is as sparse."""
    run("cp", "--sparse=auto", "--reflink=auto", source, target)


@contextlib.contextmanager
def mounted(image: str, at: str):
    """The filesystem in `image`, mounted on the directory `at`. A journal is recovered by mounting."""
    os.makedirs(at, exist_ok=True)
    # The loop device does buffered input and output (as is the default): with direct-io, FUSE corrupts the data. It
    # passes flushes on all the same.
    run("mount", "-o", "loop,noatime", image, at)
    try:
        yield at
    finally:
        _unmount(at)


def _unmount(at: str) -> None:
    def unmounted() -> bool:
        try:
            run("umount", at)
        except OSError as error:
            # A killed process with an io_uring lets go of its files a little after it has been waited for.
            if "busy" in str(error):
                return False
            raise
        return True

    until(unmounted, f"{at} stays in use")


@contextlib.contextmanager
def logged(image: str, log: str, exported: str):
    """The image as the file `exported`, writes to which go to the image and, in order and with flushes, to `log`.

    Gives the counter of logged requests. Every request is in the log before it is answered.
    """
    for path in (log, exported):
        with open(path, "wb"):
            pass
    size = os.path.getsize(image)
    storage = subprocess.Popen(
        [
            "qemu-storage-daemon",
            *("--blockdev", f"driver=file,node-name=disk,filename={image}"),
            *("--blockdev", f"driver=file,node-name=log,filename={log}"),
            # Each request updates the superblock, or the counter would lag behind.
            *("--blockdev", "driver=blklogwrites,node-name=logged,file=disk,log=log,log-super-update-interval=1"),
            *("--export", f"type=fuse,id=export,node-name=logged,mountpoint={exported},writable=on"),
        ],
        stdin=subprocess.DEVNULL,
    )
    try:
        until(lambda: os.path.getsize(exported) == size or storage.poll() is not None, "no export of the image")
        if storage.poll() is not None:
            raise OSError(f"qemu-storage-daemon ended with status {storage.returncode}")
        yield Counter(log)
    finally:
        storage.terminate()
        storage.wait(PATIENCE_SECONDS)
