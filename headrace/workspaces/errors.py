"""What can be wrong with a request to control data; each message is a sentence for a person."""

from headrace.schemas.errors import HeadraceError


class NotUsable(HeadraceError):
    """A name, limit, scope or expiry that cannot be used as it is."""


class Taken(HeadraceError):
    """The name exists already."""


class Unknown(HeadraceError):
    """There is no such workspace, key or user, or more than one that fits."""


class OtherPartitions(HeadraceError):
    """The log has another number of partitions than when it was first seen."""


class NewerDatabase(HeadraceError):
    """The control data was written by a newer version of Headrace."""
