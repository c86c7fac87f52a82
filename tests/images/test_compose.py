"""compose.yaml for people without a cluster: brought up, used, stopped, brought up again."""

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from hearsight.stack.ports import free_port
from tests.images.engine import REPOSITORY, Engine
from tests.speech import joined, word_error_rate
from tests.speech_files import written

START_S = 180
JOB_S = 180
COMMAND_S = 300
"""Longest time to be up, to transcribe half a minute, to run one command; enough on a busy machine."""

SPEECH_S = 20
WORST_WORD_ERROR_RATE = 0.15
