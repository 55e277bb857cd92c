# rvOS: every task of the book and of the system. `make help` lists them.

SHELL    := /bin/bash
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

CHAPTERS := $(sort $(wildcard chapters/[0-9][0-9]-*.nw))
STAGES   := $(patsubst 0%,%,$(foreach c,$(CHAPTERS),$(firstword $(subst -, ,$(notdir $c)))))
STAGE    ?= $(lastword $(STAGES))
MODE     ?= debug
MEM      ?= 128M
SMP      ?= 1
CROSS    ?= riscv64-unknown-elf-
JOBS     ?= $(shell nproc)
export MEM SMP CROSS

ifdef EX
STAGE    := $(firstword $(subst ., ,$(EX)))
OVERLAY   = $(or $(shell tools/exercise file $(EX)),$(error there is no answer to exercise $(EX) to build))
OUT      := build/ex-$(EX)
endif
NN       := $(shell printf %02d $(STAGE) 2>/dev/null)
OUT      ?= build/stage-$(NN)$(if $(filter release,$(MODE)),-release)$(patsubst %,-with-%,$(basename $(notdir $(OVERLAY))))
IMAGE    := $(OUT)/rvos.elf
BUILD     = $(MAKE) -j$(JOBS) -f tools/build.mk OUT=$(OUT) STAGE=$(STAGE) MODE=$(MODE) OVERLAY="$(OVERLAY)"
NEED     := tools/doctor --need

.PHONY: help tangle build run debug stages clean size
help: ## list the targets
	@echo "rvOS. Variables: STAGE=n MODE=debug|release EX=n.m OVERLAY=file.nw MEM=128M SMP=1 QEMU_FLAGS=…"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort -u | \
	    sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | \
	    while IFS=$$'\t' read -r t h; do printf '  %-14s %s\n' "$$t" "$$h"; done

tangle: ## write tangled/ and the build's copy of the source
	@$(NEED) "make tangle" python3 noweb
	@tools/tangle --readable --out tangled
	@tools/tangle --lines --stage $(STAGE) --out $(OUT)/src

build: ## build the image of stage STAGE
	@$(NEED) "make build" python3 noweb gcc
	@$(BUILD) image

run: ## boot stage STAGE (or exercise EX) in QEMU
	@$(NEED) "make run" python3 noweb gcc qemu
	@$(BUILD) image
	@tools/qemu $(IMAGE) $(QEMU_FLAGS)

debug: ## boot stage STAGE under gdb, with the chapters as source
	@$(NEED) "make debug" python3 noweb gcc qemu gdb
	@$(BUILD) image
	@tools/debug $(IMAGE) $(QEMU_FLAGS)

size: ## count lines by chapter and folder, and check what we promise about them
	@$(NEED) "make size" python3 noweb
	@tools/size --stage $(STAGE)

clean: ## remove everything that is generated, except tangled/
	@rm -rf build

-include $(filter-out tools/build%,$(wildcard tools/*.mk))
