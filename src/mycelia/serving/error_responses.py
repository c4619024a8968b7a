"""Old names of `error_mapping`, `internal_error` and `responses`, until `realtime` uses the new ones."""

from __future__ import annotations

from mycelia.serving.error_mapping import MESSAGES as TEXTS
from mycelia.serving.error_mapping import error_for as fault_of
from mycelia.serving.error_mapping import standard_error as plain_fault
from mycelia.serving.internal_error import internal_error as apology
from mycelia.serving.responses import error_response as failure
from mycelia.serving.responses import outcome_response
from mycelia.serving.responses import pack_error_response as packed_failure

__all__ = ["TEXTS", "apology", "failure", "fault_of", "outcome_response", "packed_failure", "plain_fault"]
