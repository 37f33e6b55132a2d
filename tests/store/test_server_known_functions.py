"""The list of functions is the engine's, less those that somebody decided against."""

from __future__ import annotations

import pytest

from headrace.store.server.known_functions import is_harmless, is_harmless_table_function
from tests.store.asking import ask
from tests.store.server_fixture import PROCESSOR, StoreServer

LEFT_OUT = frozenset(
    """
    AIClassify AIEmbed AIExtract AIFilter AIGenerate AIRedact AISimilarity AITranslate FQDN
    __actionName __applyFilter __bitBoolMaskAnd __bitBoolMaskOr __bitSwapLastTwo
    __bitWrapperFunc __getScalar __groupingForCube __groupingForGroupingSets __groupingForRollup
    __groupingOrdinary __patchPartitionID __scalarSubqueryResult __toYearCalendarOnly
    addressToLine addressToLineWithInlines addressToSymbol aggThrow aiClassify aiEmbed aiExtract
    aiFilter aiGenerate aiRedact aiSimilarity aiTranslate assignCentroid authUser
    authenticatedUser blockNumber buildId chdb connectionId connection_id currentHandler
    currentProfiles currentQueryID currentRequestURL currentRoles current_query_id
    defaultProfiles defaultRoles demangle dictGet dictGetAll dictGetChildren dictGetDate
    dictGetDateOrDefault dictGetDateTime dictGetDateTimeOrDefault dictGetDescendants
    dictGetFloat32 dictGetFloat32OrDefault dictGetFloat64 dictGetFloat64OrDefault
    dictGetHierarchy dictGetIPv4 dictGetIPv4OrDefault dictGetIPv6 dictGetIPv6OrDefault
    dictGetInt16 dictGetInt16OrDefault dictGetInt32 dictGetInt32OrDefault dictGetInt64
    dictGetInt64OrDefault dictGetInt8 dictGetInt8OrDefault dictGetKeys dictGetOrDefault
    dictGetOrNull dictGetRoot dictGetString dictGetStringOrDefault dictGetUInt16
    dictGetUInt16OrDefault dictGetUInt32 dictGetUInt32OrDefault dictGetUInt64
    dictGetUInt64OrDefault dictGetUInt8 dictGetUInt8OrDefault dictGetUUID dictGetUUIDOrDefault
    dictHas dictIsIn dumpColumnStructure enabledProfiles enabledRoles evalMLMethod file
    filesystemAvailable filesystemCapacity filesystemUnreserved flameGraph formatQueryFromJSON
    fullHostName fuzzBits fuzzQuery generateSerialID getClientHTTPHeader getMacro
    getMaxTableNameLengthForDatabase getMergeTreeSetting getOSKernelVersion getServerPort
    getServerSetting getSetting getSettingOrDefault getTypeSerializationStreams globalVariable
    hasColumnInTable hasThreadFuzzer hierarchicalKMeans highlightQuery hostName hostname
    icebergBucket icebergTruncate indexHint initialQueryID initialQueryStartTime
    initial_query_id initial_query_start_time isMergeTreePartCoveredBy joinGet joinGetOrNull
    logTrace mergeTreePartInfo multiFuzzyMatchAllIndices multiFuzzyMatchAny
    multiFuzzyMatchAnyIndex naiveBayesClassifier naiveBayesClassifierWithAllProbs
    naiveBayesClassifierWithProb nested normalizeQuery normalizeQueryKeepNames nothing
    nothingNull nothingUInt64 obfuscateQuery obfuscateQueryWithSeed parseQueryToJSON partitionID
    partitionId pgGetUserById pgTableIsVisible pg_get_userbyid pg_table_is_visible queryID
    query_id regionHierarchy regionIn regionToArea regionToCity regionToContinent
    regionToCountry regionToDistrict regionToName regionToPopulation regionToTopContinent
    runningAccumulate runningConcurrency seriesDecomposeSTL seriesOutliersDetectTukey serverUUID
    shardCount shardNum showCertificate sleep sleepEachRow structureToCapnProtoSchema
    structureToProtobufSchema tcpPort tid timeSeriesCopyTag timeSeriesCopyTags
    timeSeriesExtractTag timeSeriesFromGrid timeSeriesGroupToSamplingKey timeSeriesGroupToTags
    timeSeriesIdToGroup timeSeriesIdToTags timeSeriesIdToTagsGroup timeSeriesJoinTags
    timeSeriesMetricTypeToSuffixes timeSeriesPrometheusValueToString timeSeriesRange
    timeSeriesRemoveAllTagsExcept timeSeriesRemoveTag timeSeriesRemoveTags timeSeriesReplaceTag
    timeSeriesStoreTags timeSeriesTagsGroupToTags timeSeriesTagsToGroup timeSeriesTagsToMap
    timeSeriesThrowDuplicateSeriesIf tokenizeQuery transactionID transactionLatestSnapshot
    transactionOldestSnapshot uptime validateNestedArraySizes zookeeperSessionUptime
""".split()  # noqa: SIM905 - two hundred names
)


@pytest.mark.node
def test_every_function_of_the_engine_was_decided_on(two_workspaces: StoreServer) -> None:
    """A newer engine's functions appear here: read what they do, then list them, or here."""
    answer = ask(two_workspaces, PROCESSOR, "SELECT name FROM system.functions FORMAT TSV")
    refused = {name for name in answer.text.split() if not is_harmless(name)}

    assert refused == LEFT_OUT


@pytest.mark.node
def test_no_table_function_is_known_but_those_that_make_rows(two_workspaces: StoreServer) -> None:
    """Of the engine's hundred there are ten."""
    answer = ask(two_workspaces, PROCESSOR, "SELECT name FROM system.table_functions FORMAT TSV")
    known = {name for name in answer.text.split() if is_harmless_table_function(name)}

    assert known == {
        "generateRandom", "generateSeries", "generate_series", "null", "numbers", "numbers_mt",
        "primes", "values", "zeros", "zeros_mt",
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "sumIf",
        "SUMIF",
        "uniqArrayIf",
        "quantilesTimingMergeState",
        "countDistinctIf",
        "argMaxOrNull",
    ],
)
def test_aggregates_take_combinators(name: str) -> None:
    """Any, in any order."""
    assert is_harmless(name)


@pytest.mark.parametrize(
    "name", ["fileIf", "dictGetIf", "ifIf", "", "sumNo", "aggThrowIf", "FILE", "nope"]
)
def test_others_do_not(name: str) -> None:
    """A combinator makes nothing harmless."""
    assert not is_harmless(name)
