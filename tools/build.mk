# Build one image: make -f tools/build.mk OUT=build/stage-02 STAGE=2 MODE=debug
# Called by the top Makefile and by the tools; run from the root of the project.
#
#   OUT      folder for everything this build makes
#   STAGE    chapters 1…STAGE
#   MODE     debug (assertions, poisoning) or release
#   OVERLAY  noweb files laid over the book's chunks
#   CC_KIND  gcc or clang
#   TESTS_ONLY  which files of kernel/test, and programs of user/test, a test
#               image takes, as patterns

MODE     ?= debug
CC_KIND  ?= gcc
TESTS_ONLY ?= %
CROSS    ?= riscv64-unknown-elf-
SRC      := $(OUT)/src

ifeq ($(CC_KIND),clang)
CC       := clang --target=riscv64-unknown-elf
else
CC       := $(CROSS)gcc
endif
LD       := $(CROSS)gcc
NM       := $(CROSS)nm
AR       := $(CROSS)ar
OBJCOPY  := $(CROSS)objcopy

# What a kernel for RV64GC needs: no C library, no red tape of the hosted
# world, code anywhere in memory, and a frame pointer in every function so
# that a backtrace can be walked at any level of optimisation.
KFLAGS   := -march=rv64imac_zicsr_zifencei -mabi=lp64 -mcmodel=medany
KFLAGS   += -ffreestanding -fno-common -fno-stack-protector -fno-pic -g3
KFLAGS   += -fno-omit-frame-pointer -fno-optimize-sibling-calls
KFLAGS   += -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections
KCFLAGS  := $(KFLAGS) -std=c17 -fno-tree-loop-distribute-patterns
KCFLAGS  += -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
KCFLAGS  += -Wvla -Wpointer-arith -Wwrite-strings -Wundef -Wformat-security
KCFLAGS  += -Wimplicit-fallthrough -Wcast-align
INCLUDES := -I$(SRC) -I$(SRC)/include -I$(SRC)/lib

ifeq ($(CC_KIND),clang)
KFLAGS   := $(patsubst -march=%,-march=rv64imac,$(KFLAGS)) -mno-relax
KCFLAGS  := $(patsubst -march=%,-march=rv64imac,$(KCFLAGS)) -mno-relax
KCFLAGS  := $(filter-out -fno-tree-loop-distribute-patterns,$(KCFLAGS)) -fno-builtin
endif
ifeq ($(MODE),release)
OPTIMISE := -O2 -DDEBUG=0
else
OPTIMISE := -Og -DDEBUG=1
endif
ifneq ($(CI)$(WERROR),)
KCFLAGS  += -Werror
endif

IMAGES   := image test-image bench-image
.PHONY: $(IMAGES) images sources
.SUFFIXES:

# The list of files is known only after tangling, so this makefile tangles
# first and then calls itself: once for all images, for they share objects.
ifeq ($(TANGLED),)
$(IMAGES): images ; @:

images: sources
	@$(MAKE) --no-print-directory -f tools/build.mk TANGLED=1 \
	    $(or $(filter $(IMAGES),$(MAKECMDGOALS)),image)

sources:
	@tools/tangle --lines --tests $(if $(STAGE),--stage $(STAGE)) \
	    $(addprefix --overlay ,$(OVERLAY)) --out $(SRC)
else

image: $(OUT)/rvos.elf
test-image: $(OUT)/rvos-test.elf
bench-image: $(OUT)/rvos-bench.elf

FILES    := $(shell find $(SRC)/kernel $(SRC)/lib/base \
              \( -name '*.c' -o -name '*.S' \) 2>/dev/null | sort)
OBJECTS  := $(patsubst $(SRC)/%,$(OUT)/obj/%.o,$(FILES))
TESTS    := $(filter $(OUT)/obj/kernel/test/%,$(OBJECTS))
BENCHES  := $(filter $(OUT)/obj/kernel/bench/%,$(OBJECTS))
OBJECTS  := $(filter-out $(TESTS) $(BENCHES),$(OBJECTS))
TESTS    := $(filter $(addprefix $(OUT)/obj/kernel/test/,$(TESTS_ONLY)),$(TESTS))
FLAGFILE := $(OUT)/obj/flags.list
FLAGS    := $(CC) $(KCFLAGS) $(OPTIMISE) $(DEFINES)

$(OUT)/obj/%.c.o: $(SRC)/%.c $(FLAGFILE)
	@mkdir -p $(@D)
	@$(CC) $(KCFLAGS) $(OPTIMISE) $(DEFINES) $(INCLUDES) -MMD -MP -c -o $@ $<

$(OUT)/obj/%.S.o: $(SRC)/%.S $(FLAGFILE)
	@mkdir -p $(@D)
	@$(CC) $(KFLAGS) $(DEFINES) $(INCLUDES) -MMD -MP -c -o $@ $<

# Objects are rebuilt when the flags change, as they do when the header of
# the build does.
$(FLAGFILE): MEMBERS = $(FLAGS)

# What goes into something, as a file that changes when that does: then what
# has gone is noticed, too, which leaves no newer file behind.
%.list: FORCE
	@mkdir -p $(@D)
	@echo '$(MEMBERS)' | cmp -s - $@ || echo '$(MEMBERS)' > $@

ifneq ($(wildcard $(SRC)/user/user.ld),)
include tools/build_user.mk
endif

# Two passes, once the book has a symbol table: the first image gives the
# addresses of the symbols, the second carries them. The table stands behind
# everything else, so that it moves nothing; `tools/symbols --same` checks that.
LINK     := $(LD) -nostdlib -static -march=rv64imac_zicsr_zifencei -mabi=lp64 \
            -mcmodel=medany -Wl,--no-warn-rwx-segments -Wl,--gc-sections \
            -Wl,--build-id=none -T $(SRC)/kernel/kernel.ld

ifeq ($(shell grep -l '[.]symbols' $(SRC)/kernel/kernel.ld 2>/dev/null),)
define link
@$(LINK) -o $@ $1
endef
else
define link
@$(LINK) -o $@.1 $1
@tools/symbols $(NM) $@.1 > $@.S
@$(CC) $(KFLAGS) -c -o $@.o $@.S
@$(LINK) -o $@.2 $1 $@.o
@tools/symbols --same $(NM) $@.1 $@.2
@mv $@.2 $@ && rm -f $@.1 $@.S $@.o
endef
endif

# $1: an image, $2: what it consists of
define image
$(OUT)/$1.elf: $2 $(OUT)/obj/$1.list $(SRC)/kernel/kernel.ld
	$$(call link,$2)
$(OUT)/obj/$1.list: MEMBERS = $2
endef
$(eval $(call image,rvos,$(OBJECTS) $(PROGRAMS)))
$(eval $(call image,rvos-test,$(OBJECTS) $(TESTS) $(TEST_PROGRAMS)))
$(eval $(call image,rvos-bench,$(OBJECTS) $(BENCHES) $(BENCH_PROGRAMS)))

.PHONY: FORCE
-include $(OBJECTS:.o=.d) $(TESTS:.o=.d) $(BENCHES:.o=.d)
endif
