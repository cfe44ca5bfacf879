"""Every exception a user can meet. The CLI prints the message as one line and exits with `exit_code`."""


class TilerError(Exception):
    """Base class: the message names the file or option, the value found and what is allowed."""

    exit_code = 2


class ConfigError(TilerError):
    """An option, a job file or a combination of options is wrong."""


class InstallError(TilerError):
    """A package is not the one that is needed."""


class SchedulerError(ConfigError):
    """The cluster that was named cannot be used."""


class SchedulerInUseError(SchedulerError):
    """Another process has the cluster."""


class PictureError(TilerError):
    """An input picture is missing, unreadable or of a kind that cannot be used."""


class PictureChangedError(PictureError):
    """An input picture is not the file any more that was opened."""


class OutputError(TilerError):
    """The poster cannot be written where or as what the user asked."""


class StoreError(TilerError):
    """The store is missing, damaged, busy, or belongs to another job."""


class StoreInUseError(StoreError):
    """Another process has the store."""


class LevelMovedError(StoreError):
    """A level was rendered on while it was being read."""


class DamageError(StoreError):
    """Something that was written to the store is missing or fails its checksum; it can be computed again.

    path: the array; index: the leading indices of what was to be read.
    """

    def __init__(self, message: str, path: str = "", index: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.path, self.index = path, index


class ResourceError(TilerError):
    """There is too little disk or memory for what is asked."""


class WeightsError(TilerError):
    """The backbone's weights are missing, fail their checksum or do not fit VGG-19."""


class LandError(TilerError):
    """A learned land is missing, damaged, or another than is asked for."""


class TileTooLargeError(TilerError):
    """A tile's activations did not fit into memory; a smaller tile may."""

    exit_code = 1


class RenderError(TilerError):
    """The render started and could not go on; finished work is in the store."""

    exit_code = 1


class CancelledError(RenderError):
    """Whoever asked for the render does not want it any more."""


class WorkerDiedError(RenderError):
    """Workers died again and again on the same task, as they do when the system runs out of memory."""


class StateLostError(RenderError):
    """What was in the memory of a worker is gone with it; the level goes on from its last checkpoint."""


class DeviceLostError(RenderError):
    """A worker's GPU cannot be used by its process any more; another process may."""


class NotFiniteError(RenderError):
    """A loss or a pixel became infinite or not a number, also in fp32 and with smaller steps."""
