# Testing, and keeping what the book prints true.

.PHONY: test stages transcripts fuzz

PYTEST := /usr/bin/python3 -m pytest -q -n auto -p no:cacheprovider

# The stage is passed on only if it was asked for: without one, all are tested.
test: ## test everything; with STAGE=n, chapters 1…n as stage n has them
	@$(NEED) "make test" python3 noweb gcc qemu gdb pytest
	@$(PYTEST) tests $(if $(filter command environment,$(firstword $(origin STAGE))),--stage $(STAGE))

stages: ## build, boot and test each stage in turn
	@$(NEED) "make stages" python3 noweb gcc qemu
	@tools/stages

transcripts: ## put what really happens into the sessions and numbers of the text
	@$(NEED) "make transcripts" python3 noweb gcc qemu gdb pytest
	@tools/transcripts --refresh
	@tools/values --refresh

fuzz: ## feed pure code random inputs for a while: [EFFORT=20] [SEED=n]
	@$(NEED) "make fuzz" python3 noweb gcc pytest
	@RVOS_EFFORT=$(or $(EFFORT),20) RVOS_SEED=$(or $(SEED),$(shell date +%s)) \
	    $(PYTEST) tests/test_host.py
