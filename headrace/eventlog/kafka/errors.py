"""aiokafka's errors in our three shapes, each with its reason.

Which one it is decides what a client is told and whether its next try is marked: `Overloaded`
promises that nothing was done, so an error is it only where the broker says so, or where nothing
was sent. `tests/eventlog/test_kafka_errors.py` holds that no error of aiokafka's is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headrace.eventlog.kafka import driver
from headrace.schemas.errors import Fenced, HeadraceError, Overloaded, Unavailable

RETRY_SECONDS: Final = 1.0
"""What clients are told to wait while the brokers cannot take records."""

_E = driver.errors

NOT_DONE: Final[Mapping[type[BaseException], str]] = {
    _E.NoBrokersAvailable: "no broker could be reached",
    _E.NodeNotReadyError: "there is no connection to the broker, so nothing was sent",
    _E.TooManyInFlightRequests: "the driver sent nothing; too much is on its way",
    _E.StaleMetadata: "the driver does not know the broker yet",
    _E.MetadataEmptyBrokerList: "the cluster names no brokers",
    _E.UnrecognizedBrokerVersion: "the broker's version is not known to the driver",
    _E.IncompatibleBrokerVersion: "the broker does not speak the version of a request we need",
    _E.AuthenticationMethodNotSupported: "the broker does not take this way of logging in",
    _E.AuthenticationFailedError: "the login was refused",
    _E.KafkaUnavailableError: "no broker could be reached",
    _E.UnsupportedCodecError: "the compression is not known to the driver",
    _E.KafkaConfigurationError: "the driver's configuration is wrong",
    _E.QuotaViolationError: "the broker's quota is used up",
    _E.RecordTooLargeError: "a record is larger than the driver takes",
    _E.ProducerClosed: "the driver is closed",
    _E.ConsumerStoppedError: "the driver is closed",
    _E.IllegalOperation: "the driver was used wrongly",
    _E.IllegalStateError: "the driver was used wrongly",
    _E.IllegalArgumentError: "the driver was used wrongly",
    _E.OffsetOutOfRangeError: "the position is not in the log",
    _E.NoOffsetForPartitionError: "the partition has no position",
    _E.CorruptRecordException: "the batch was damaged on its way, and was refused",
    _E.InvalidFetchRequestError: "the broker does not understand the question",
    _E.LeaderNotAvailableError: "the partition has no leader at the moment",
    _E.BrokerNotAvailableError: "the broker is not available",
    _E.ReplicaNotAvailableError: "the replica is not available",
    _E.MessageSizeTooLargeError: "the batch is larger than the topic's max.message.bytes",
    _E.StaleControllerEpochError: "the controller has changed",
    _E.OffsetMetadataTooLargeError: "the commit says more than the broker keeps",
    _E.StaleLeaderEpochCodeError: "the partition's leader has changed",
    _E.GroupLoadInProgressError: "the group is being loaded",
    _E.GroupCoordinatorNotAvailableError: "the group has no coordinator at the moment",
    _E.NotCoordinatorForGroupError: "another broker coordinates the group now",
    _E.InvalidTopicError: "the topic's name is not allowed",
    _E.RecordListTooLargeError: "the batch is larger than a segment of the topic",
    _E.NotEnoughReplicasError: "fewer replicas are in sync than min.insync.replicas demands",
    _E.InvalidRequiredAcksError: "the broker does not take acks=all",
    _E.RebalanceInProgressError: "the group is being rebalanced",
    _E.InconsistentGroupProtocolError: "other members of the group share partitions another way",
    _E.InvalidGroupIdError: "the group's name is not allowed",
    _E.InvalidSessionTimeoutError: "the broker does not allow this session time-out",
    _E.MemberIdRequired: "the group gives the member its name first",
    _E.InvalidCommitOffsetSizeError: "the commit is larger than the broker takes",
    _E.TopicAuthorizationFailedError: "the login may not use the topic",
    _E.GroupAuthorizationFailedError: "the login may not use the group",
    _E.ClusterAuthorizationFailedError: "the login may not do this to the cluster",
    _E.InvalidTimestampError: "the broker does not take the records' timestamps",
    _E.UnsupportedSaslMechanismError: "the broker does not offer this SASL mechanism",
    _E.IllegalSaslStateError: "the login came at the wrong moment",
    _E.UnsupportedVersionError: "the broker does not speak this version of the request",
    _E.TopicAlreadyExistsError: "the topic is there already",
    _E.InvalidPartitionsError: "the number of partitions is not allowed",
    _E.InvalidReplicationFactorError: "the cluster has too few brokers for this replication",
    _E.InvalidReplicationAssignmentError: "the replicas cannot be placed so",
    _E.InvalidConfigurationError: "the topic's configuration is not allowed",
    _E.NotControllerError: "another broker is the controller now",
    _E.InvalidRequestError: "the broker does not understand the request",
    _E.UnsupportedForMessageFormatError: "the topic's message format is too old",
    _E.PolicyViolationError: "a policy of the cluster forbids it",
    _E.OutOfOrderSequenceNumber: "an earlier batch is missing, so this one was refused",
    _E.InvalidProducerEpoch: "the producer id has a newer owner",
    _E.InvalidTxnState: "transactions are not used here",
    _E.InvalidProducerIdMapping: "transactions are not used here",
    _E.InvalidTransactionTimeout: "transactions are not used here",
    _E.ConcurrentTransactions: "transactions are not used here",
    _E.TransactionCoordinatorFenced: "transactions are not used here",
    _E.TransactionalIdAuthorizationFailed: "the login may not have a producer id",
    _E.ProducerFenced: "the producer id has a newer owner",
    _E.SecurityDisabled: "the cluster has no security features",
    _E.OperationNotAttempted: "the broker did not try",
    _E.LogDirNotFound: "the broker has no such log directory",
    _E.SaslAuthenticationFailed: "the login was refused",
    _E.UnknownProducerId: "the broker has forgotten the producer id, and refused the batch",
    _E.ReassignmentInProgress: "the partition is being moved",
    _E.DelegationTokenAuthDisabled: "delegation tokens are not used here",
    _E.DelegationTokenNotFound: "delegation tokens are not used here",
    _E.DelegationTokenOwnerMismatch: "delegation tokens are not used here",
    _E.DelegationTokenRequestNotAllowed: "delegation tokens are not used here",
    _E.DelegationTokenAuthorizationFailed: "delegation tokens are not used here",
    _E.DelegationTokenExpired: "delegation tokens are not used here",
    _E.InvalidPrincipalType: "delegation tokens are not used here",
    _E.NonEmptyGroup: "the group has members",
    _E.GroupIdNotFound: "the group is not there",
    _E.FetchSessionIdNotFound: "fetch sessions are not used here",
    _E.InvalidFetchSessionEpoch: "fetch sessions are not used here",
    _E.ListenerNotFound: "the leader has no listener of the kind we came by",
}
"""Nothing was done: `Overloaded`."""

IN_DOUBT: Final[Mapping[type[BaseException], str]] = {
    _E.KafkaError: "the driver does not say what went wrong",
    _E.KafkaProtocolError: "the answer made no sense",
    _E.CorrelationIdError: "an answer belonged to another request",
    _E.Cancelled: "the request was given up",
    _E.KafkaTimeoutError: "no answer came in time",
    _E.KafkaConnectionError: "the connection broke",
    _E.BrokerResponseError: "the broker does not say what went wrong",
    _E.UnknownError: "the broker does not say what went wrong",
    _E.NoError: "success where an error was expected",
    _E.RequestTimedOutError: "the broker did not finish in time",
    _E.NotEnoughReplicasAfterAppendError: "stored, on fewer replicas than min.insync.replicas",
    _E.DuplicateSequenceNumber: "an earlier try stored the batch",
    _E.KafkaStorageError: "the broker's disk failed",
    # The next two come also from a leader that took a batch in, and lost its partition while it
    # waited for the other replicas, which may have the batch (DelayedProduce.tryComplete).
    _E.NotLeaderForPartitionError: "another broker leads the partition now",
    _E.UnknownTopicOrPartitionError: "the topic or partition is not there",
    _E.CommitFailedError: "the commit cannot have counted, but the driver does not say why",
}
"""It may have been done: `Unavailable`."""

REPLACED: Final[Mapping[type[BaseException], str]] = {
    _E.IllegalGenerationError: "the group has rebalanced; the partition may have another owner",
    _E.UnknownMemberIdError: "the group has removed this member; its partitions have other owners",
}
"""Somebody else owns the partition: `Fenced`."""


def is_refusal(error: BaseException) -> bool:
    """Whether the error says that nothing was done."""
    return type(error) in NOT_DONE


def describe(error: BaseException) -> str:
    """The reason for a person: ours, then the driver's name and message if it has one."""
    kind = type(error)
    reason = NOT_DONE.get(kind) or IN_DOUBT.get(kind) or REPLACED.get(kind)
    if reason is None:
        return f"{kind.__name__}: {error}" if str(error) else kind.__name__
    detail = f": {error.args[0]}" if error.args and isinstance(error.args[0], str) else ""
    return f"{reason} ({kind.__name__}{detail})"


def translate(error: BaseException, what: str) -> HeadraceError:
    """`error`, met while storing something, in our shapes; what nobody knows is in doubt."""
    if type(error) in REPLACED:
        return Fenced(f"{what}: {describe(error)}")
    if is_refusal(error):
        return Overloaded(f"{what}: {describe(error)}", retry_after=RETRY_SECONDS)
    return unanswered(error, what)


def unanswered(error: BaseException, what: str) -> Unavailable:
    """`error`, met while asking something: whatever it is, there is no answer."""
    return Unavailable(f"{what}: {describe(error)}")
