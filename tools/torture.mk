# Random system calls, for longer than a test may take.
# make torture MINUTES=10 SEED=1: the seed of a round is printed before it begins,
# and `make torture MINUTES=0 SEED=n` repeats from there.

MINUTES  ?= 10
SEED     ?= 1
TORTURE  := build/torture

.PHONY: torture
torture: ## MINUTES=n of random system calls, from SEED=n on
	@$(NEED) "make torture" python3 noweb gcc qemu
	@$(MAKE) -j$(JOBS) -f tools/build.mk OUT=$(TORTURE) STAGE=$(STAGE) MODE=$(MODE) \
	    DEFINES="-DFUZZ_SEED=$(SEED)ul -DFUZZ_SECONDS=$(MINUTES)*60ul" test-image
	@tools/qemu $(TORTURE)/rvos-test.elf | tee $(TORTURE)/log | grep --line-buffered -aE \
	    '^(fuzz: seed [0-9]*00|panic|user: .*FAILED|selftest: .*(:[0-9]+:|FAILED|passed))'; \
	    status=$${PIPESTATUS[0]}; grep -a '^fuzz: seed' $(TORTURE)/log | tail -1 | sed 's/^/the last round was /'; \
	    exit $$status
