"""The service as a WSGI application, for gunicorn and others: `gunicorn wsgi:app`."""

import os

from titrator.app import create_app
from titrator.settings import load_settings

app = create_app(load_settings(os.environ))
