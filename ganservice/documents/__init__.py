"""Documents: what every command prints with `-o json`, as models: the one place that says so.

`python -m ganservice.documents >docs/json.md`
"""

from ganservice.documents.base import VERSION, Document
from ganservice.documents.changes import (
    CancelDocument,
    ChangeDocument,
    DeleteDocument,
    EstimateSection,
    PlanDocument,
    RetryDocument,
    SetPriorityDocument,
    SubmitDocument,
    WaitDocument,
)
from ganservice.documents.job import CompareDocument, JobDocument, ListDocument, ShowDocument, job_document
from ganservice.documents.pictures import (
    AugmentDocument,
    InpaintDocument,
    PicturesDocument,
    RecoverDocument,
    UpscaleDocument,
    WalkDocument,
)
from ganservice.documents.service import (
    DoctorDocument,
    MaintenanceDocument,
    NodesDocument,
    QuotaDocument,
    UserDocument,
    UsersDocument,
)
from ganservice.documents.store import (
    DataSetDocument,
    DataSetsDocument,
    DataShowDocument,
    FetchDocument,
    GarbageDocument,
    LinkDocument,
    LsDocument,
    NetworkDocument,
    ReportDocument,
    StoredJobsDocument,
)
from ganservice.documents.streams import EventDocument, LogDocument

# By command; one that is marked so prints one a line.
DOCUMENTS: dict[str, type[Document]] = {
    "list": ListDocument,
    "list --stored": StoredJobsDocument,
    "show": ShowDocument,
    "compare": CompareDocument,
    "submit": SubmitDocument,
    "submit --dry-run": PlanDocument,
    "evaluate": SubmitDocument,
    "wait": WaitDocument,
    "cancel": CancelDocument,
    "retry": RetryDocument,
    "set-priority": SetPriorityDocument,
    "delete": DeleteDocument,
    "events": EventDocument,
    "logs": LogDocument,
    "fetch": FetchDocument,
    "ls": LsDocument,
    "link": LinkDocument,
    "report": ReportDocument,
    "networks put": NetworkDocument,
    "gc": GarbageDocument,
    "data list": DataSetsDocument,
    "data get": DataSetDocument,
    "data show": DataShowDocument,
    "data import": DataSetDocument,
    "data delete": DataSetDocument,
    "sample": PicturesDocument,
    "interpolate": WalkDocument,
    "recover": RecoverDocument,
    "inpaint": InpaintDocument,
    "augment": AugmentDocument,
    "upscale": UpscaleDocument,
    "doctor": DoctorDocument,
    "nodes": NodesDocument,
    "cordon": MaintenanceDocument,
    "uncordon": MaintenanceDocument,
    "drain": MaintenanceDocument,
    "pause": MaintenanceDocument,
    "resume": MaintenanceDocument,
    "quota set": QuotaDocument,
    "quota show": QuotaDocument,
    "users add": UserDocument,
    "users remove": UserDocument,
    "users list": UsersDocument,
}
# The commands that print a document a line: of each job, or of what goes on to come.
LINES = ("show", "wait", "cancel", "retry", "set-priority", "delete", "events", "logs")

__all__ = [
    "DOCUMENTS", "LINES", "VERSION", "AugmentDocument", "CancelDocument", "ChangeDocument", "CompareDocument",
    "DataSetDocument", "DataSetsDocument", "DataShowDocument", "DeleteDocument", "DoctorDocument", "Document",
    "EstimateSection", "EventDocument", "FetchDocument", "GarbageDocument", "InpaintDocument", "JobDocument",
    "LinkDocument", "ListDocument", "LogDocument", "LsDocument", "MaintenanceDocument", "NetworkDocument",
    "NodesDocument", "PicturesDocument", "PlanDocument", "QuotaDocument", "RecoverDocument", "ReportDocument",
    "RetryDocument", "SetPriorityDocument", "ShowDocument", "StoredJobsDocument", "SubmitDocument", "UpscaleDocument",
    "UserDocument", "UsersDocument", "WaitDocument", "WalkDocument", "job_document",
]  # fmt: skip
