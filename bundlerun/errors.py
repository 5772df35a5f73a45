"""The errors that bundlerun raises, each with its exit code on the command line.

::

    BundlerunError                1
    |-- UsageError                2   what was typed cannot be meant
    |   |-- BadName, BadValue, BadPath, BadParameter, BadModule
    |-- SettingsError             3   the configuration is wrong or incomplete
    |-- NotFound                  4   a name that nothing answers to
    |   |-- ContextNotFound, BundleNotFound, RunNotFound, ImageNotFound
    |   |   |-- GivenUp          removed on the remote, for everybody
    |   |   `-- PushIncomplete   the rest was sent
    |-- Conflict                  5   the thing is there, but not in the needed state
    |   |-- NotCommitted, OtherRemote, StaleImage, StoreBusy, StoreReadOnly
    |-- RemoteError               6   the remote does not do what is asked
    |   |-- NoRemote, NoCredentials, AccessDenied, RemoteChanged, Untrusted
    |   |-- RemoteUnreachable
    |   |   `-- RemoteGone       there is no such bucket
    |-- IntegrityError            7   bytes are not what their digest says
    |-- EngineError               8   no container engine, or it refuses
    |   |-- BuildFailed
    |-- CloudError                9   an AWS service says no
    |-- RunFailed                10   the run ended without its output
    |   |-- UserError            11   the pipe, or the function over an item, raised
    |   |   |-- ItemFailed            what an item raised or returned cannot come as it is
    |   |   `-- ScriptFailed          the script of an image ended with an exit code
    |   |-- OutOfMemory          12
    |   |-- TimedOut             13
    |   |-- SpotReclaimed        14
    |   |-- ImagePull            15
    |   |-- Cancelled            16
    |   |-- InfraError           17
    |   |-- MissingOutput        18   the job ended well, the output is not there
    |   |-- Stuck                19   the queue never started it
    |   `-- NotDeterministic     20   the same work made two values
    `-- SubmitUnknown            21   the answer to a submit was lost: is there a job?

Besides them two warnings. UntrackedFile: a pipe read a file that stands in no key. LargeFunction: a
function of a map takes many bytes, which every job reads.

130 is Ctrl-C. A message says what, where, and the next command to type.
"""

from __future__ import annotations

from typing import TypeVar

E = TypeVar("E", bound="BundlerunError")

DOCTOR = "bundlerun doctor"
"""The next command where an engine, AWS or a remote fails for no known reason."""


class BundlerunError(Exception):
    """The root: whatever bundlerun raises on purpose is one of these.

    ``hint`` is the next command to type; ``str()`` shows both. Where a raiser names none it is
    the ``cure`` of the class, which is None for classes without one that fits all of them.
    """

    exit_code = 1
    cure: str | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.cure

    def __str__(self) -> str:
        return f"{self.message}; try: {self.hint}" if self.hint else self.message


class UntrackedFile(UserWarning):
    """A pipe read a file of its project that is part of no key.

    An edit of such a file makes nothing new.
    """


class LargeFunction(UserWarning):
    """A function of a map takes many bytes with the variables that it captured."""


class UsageError(BundlerunError):
    """What was asked cannot be meant; nothing was done."""

    exit_code = 2


class BadName(UsageError):
    """A bundle, context or tag name that is not allowed."""


class BadValue(UsageError):
    """A value that a bundle cannot keep; the message names the path in the tree."""


class BadPath(UsageError):
    """A file path that a bundle cannot keep, or that is not there."""


class BadParameter(UsageError):
    """A pipe parameter that is unknown, missing, or does not parse."""


class BadModule(UsageError):
    """A module or class that does not exist, or is not a Pipe."""


class SettingsError(BundlerunError):
    """The configuration file or an environment variable is wrong or incomplete."""

    exit_code = 3


class NotFound(BundlerunError):
    """A name that nothing answers to."""

    exit_code = 4


class ContextNotFound(NotFound):
    """No such context in this store, or none chosen."""


class BundleNotFound(NotFound):
    """No bundle of this name, id or tags."""


class GivenUp(BundleNotFound):
    """The version was removed on the remote, and bytes of it are not here."""


class PushIncomplete(BundleNotFound):
    """Bytes of some bundles are neither here nor on the remote; the rest was sent.

    ``report`` is what the push did (``PushReport``).
    """

    def __init__(self, message: str, *, hint: str | None = None, report: object = None) -> None:
        super().__init__(message, hint=hint)
        self.report = report


class RunNotFound(NotFound):
    """No run of this id in the journal."""


class ImageNotFound(NotFound):
    """The pipeline's image has not been made."""


class Conflict(BundlerunError):
    """The thing is there, but not in the state that is needed."""

    exit_code = 5


class NotCommitted(Conflict):
    """Only committed bundles leave this machine."""


class OtherRemote(Conflict):
    """The context is bound to another remote than the wanted one.

    ``leaving`` is what it would leave behind (``remotes.binding.Leaving``).
    """

    def __init__(self, message: str, *, hint: str | None = None, leaving: object = None) -> None:
        super().__init__(message, hint=hint)
        self.leaving = leaving


class StaleImage(Conflict):
    """The source differs from what the image was made of."""


class StoreBusy(Conflict):
    """Another process held the store for too long."""

    cure = "the same command again"


class StoreReadOnly(Conflict):
    """The store may be read here, and not written."""


class RemoteError(BundlerunError):
    """The remote does not do what is asked."""

    exit_code = 6
    cure = DOCTOR


class NoRemote(RemoteError):
    """The context has no remote."""


class NoCredentials(RemoteError):
    """No usable credentials."""


class AccessDenied(RemoteError):
    """The credentials do not allow it."""


class RemoteUnreachable(RemoteError):
    """No bucket, no folder, or no answer there."""


class RemoteGone(RemoteUnreachable):
    """There is no such bucket, says the service: asking again is of no use."""


class RemoteChanged(RemoteError):
    """Another remote answers at the address of the known one."""


class Untrusted(RemoteError):
    """A pickle on the remote, not opened: nothing proves it to be the run's own."""


class IntegrityError(BundlerunError):
    """Bytes are not what their digest says, or a record is not what its key says."""

    exit_code = 7
    cure = "bundlerun fsck, or bundlerun fsck --remote"


class EngineError(BundlerunError):
    """No container engine answers, or it refuses."""

    exit_code = 8
    cure = DOCTOR


class BuildFailed(EngineError):
    """A step of an image build failed; the message has the step and its last lines."""


class CloudError(BundlerunError):
    """An AWS service refused a call; the message has service, operation and code."""

    exit_code = 9
    cure = DOCTOR


class RunFailed(BundlerunError):
    """A run ended without its output.

    ``evidence`` is what is known besides the message: a traceback, the last lines of output.
    """

    exit_code = 10

    def __init__(self, message: str, *, hint: str | None = None, evidence: str = "") -> None:
        super().__init__(message, hint=hint)
        self.evidence = evidence


class UserError(RunFailed):
    """The pipe, or the function over an item, raised; ``evidence`` is the traceback."""

    exit_code = 11


class ItemFailed(UserError):
    """What an item raised or returned cannot come as it is.

    ``class_name`` (with its module) and ``text`` are those of what it was, ``evidence`` is the
    traceback.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        evidence: str = "",
        class_name: str = "",
        text: str = "",
    ) -> None:
        super().__init__(message, hint=hint, evidence=evidence)
        self.class_name = class_name
        self.text = text


class ScriptFailed(UserError):
    """The script of an image failed over an item.

    ``status`` is its exit code, or the negative number of the signal that ended it; ``evidence``
    are the last lines of its standard error.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, evidence: str = "", status: int = 1
    ) -> None:
        super().__init__(message, hint=hint, evidence=evidence)
        self.status = status


class OutOfMemory(RunFailed):
    """The kernel or the service killed the job for its memory."""

    exit_code = 12


class TimedOut(RunFailed):
    """The job ran longer than it was allowed to."""

    exit_code = 13


class SpotReclaimed(RunFailed):
    """The machine under the job was taken back."""

    exit_code = 14


class ImagePull(RunFailed):
    """The image is not available where the job was started."""

    exit_code = 15


class Cancelled(RunFailed):
    """Somebody cancelled the job."""

    exit_code = 16


class InfraError(RunFailed):
    """The job died of something other than the pipe or the failures above."""

    exit_code = 17


class MissingOutput(RunFailed):
    """The job reports success, and its output is not on the remote."""

    exit_code = 18


class Stuck(RunFailed):
    """The job waits for something that does not come.

    The message has the service's reason.
    """

    exit_code = 19


class NotDeterministic(RunFailed):
    """The same pipe over the same inputs made two different values.

    ``evidence`` says where they differ.
    """

    exit_code = 20


class SubmitUnknown(BundlerunError):
    """The answer to a submit was lost, and the job was not found.

    It may come to light later, so the run stays open.
    """

    exit_code = 21


def named(name: object, default: type[E], kind: type[E]) -> type[E]:
    """The error class ``name``, if it is a ``kind``; else ``default``.

    Names come from records that others wrote: they are looked up here, and nowhere else.
    """
    found = globals().get(name) if isinstance(name, str) else None
    return found if isinstance(found, type) and issubclass(found, kind) else default
