# Everything runs from the active virtual environment; README.md says how to make one.

.PHONY: check lint test

# The tests start real mail servers, which only root may do. Through sudo nothing is left here that
# belongs to root.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo env PATH="$(PATH)" PYTHONDONTWRITEBYTECODE=1 \
	HYPOTHESIS_STORAGE_DIRECTORY=/tmp/mailsync-hypothesis PYTEST_ADDOPTS="-p no:cacheprovider")

check: lint test

lint:
	ruff check
	ruff format --check
	mypy
	lint-imports --no-logo

# Two processes; each file in one of them, so that its mail servers are started once.
test:
	scripts/dav-peers
	$(AS_ROOT) pytest -n 2 --dist loadfile
