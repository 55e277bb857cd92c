# Testing, and keeping what the book prints true.

.PHONY: test stages transcripts model fuzz bench bench-check

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

bench: ## count the instructions of common operations, release build
	@$(NEED) "make bench" python3 noweb gcc qemu
	@tools/bench --stage $(STAGE) $(addprefix --overlay ,$(OVERLAY))

bench-check: ## compare these counts with those that the book prints
	@$(NEED) "make bench-check" python3 noweb gcc qemu
	@tools/bench --check --stage $(STAGE)

model: ## have Spin try all orders of a wake-up
	@$(NEED) "make model" python3 noweb hostcc spin
	@tools/model

# Trees by the million, and the other programs for EFFORT times their usual
# rounds. A tree or a program that fails is left in build/; with TREE or PROGRAM,
# it alone is tried.
fuzz: ## feed pure code random inputs: [COUNT=10000000 trees] [EFFORT=20] [SEED=n] [TREE=file] [PROGRAM=file]
	@$(NEED) "make fuzz" python3 noweb gcc qemu pytest
ifdef TREE
	@RVOS_TREE=$(abspath $(TREE)) $(PYTEST) tests/test_fdt.py -k case_again
else ifdef PROGRAM
	@RVOS_PROGRAM=$(abspath $(PROGRAM)) $(PYTEST) tests/test_elf.py -k case_again
else
	@seed=$(or $(SEED),$$(date +%s)); \
	    echo "To do the same again: make fuzz SEED=$$seed COUNT=$(or $(COUNT),10000000) EFFORT=$(or $(EFFORT),20)"; \
	    RVOS_SEED=$$seed RVOS_COUNT=$(or $(COUNT),10000000) RVOS_EFFORT=$(or $(EFFORT),20) \
	    $(PYTEST) tests -m fuzz
endif
