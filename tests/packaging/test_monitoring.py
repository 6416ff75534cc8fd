"""k8s/monitoring: alerts by promtool, the runbook behind each, and the dashboard as built."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics_core import Metric

from tests.packaging.test_docs import anchors
from tests.support.object_servers import ROOT, require_tool
from tests.support.prometheus import MONITORING, PROMTOOL, alert_rules
from worker.process.metrics import REGISTRY
