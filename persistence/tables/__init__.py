"""The tables, a file per noun. Alembic reads `Base.metadata` from here."""

from persistence.tables.base import Base
from persistence.tables.browser_sessions import BrowserSession, LoginAttempts, LoginLink
from persistence.tables.checkpoints import Checkpoint
from persistence.tables.datasets import Dataset, DatasetImage
from persistence.tables.jobs import Artifact, Event, Job, Metric, ResumePoint, StageTransition
from persistence.tables.samples import Insight, Sample, SampleBand, SampleCount
from persistence.tables.sweeper import Sweeper
from persistence.tables.tenants import ApiKey, Tenant
from persistence.tables.uploads import IncomingPart, IncomingUpload, ObjectDeletion, StoredObject, Upload
from persistence.tables.webhooks import Webhook, WebhookDelivery

__all__ = [
    "ApiKey",
    "Artifact",
    "Base",
    "BrowserSession",
    "Checkpoint",
    "Dataset",
    "DatasetImage",
    "Event",
    "IncomingPart",
    "IncomingUpload",
    "Insight",
    "Job",
    "LoginAttempts",
    "LoginLink",
    "Metric",
    "ObjectDeletion",
    "ResumePoint",
    "Sample",
    "SampleBand",
    "SampleCount",
    "StageTransition",
    "StoredObject",
    "Sweeper",
    "Tenant",
    "Upload",
    "Webhook",
    "WebhookDelivery",
]
