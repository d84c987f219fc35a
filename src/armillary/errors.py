"""What goes wrong, in one sentence each: what came, what must hold, what would do."""


class ArmillaryError(ValueError):
    """The user's mistake; exit code 2 on the command line. ``code`` is stable for machines."""

    code = "error"


class ConfigError(ArmillaryError):
    """A setting that cannot work."""

    code = "config"


class DataError(ArmillaryError):
    """A data set, a film or a recording that is not what it says."""

    code = "data"


class RequestError(ArmillaryError):
    """A request that names something unknown or lacks something needed."""

    code = "request"


class CheckpointError(ArmillaryError):
    """A checkpoint folder that is missing, broken or of another layout."""

    code = "checkpoint"


class RefusedError(ArmillaryError):
    """A request that is understood and not served."""

    code = "refused"
