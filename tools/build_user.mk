# Build the programs of user/ and make data of them; a part of tools/build.mk.
#
#   user/NAME/        a program of every image
#   user/test/NAME/   a program of test images
#   user/bench/NAME/  a program of bench images
#
#   OUT/user/NAME.elf       the program as linked, for gdb
#   OUT/user/NAME.stripped  without symbols, for the image
#   OUT/user/NAME.o         that file as data of the kernel

# As for the kernel, but with floating point, and with nothing of the kernel's
# to include.
UFLAGS    := $(filter-out -march=% -mabi=%,$(KFLAGS)) -march=rv64gc -mabi=lp64d
UCFLAGS   := $(filter-out -march=% -mabi=%,$(KCFLAGS)) -march=rv64gc -mabi=lp64d
UINCLUDES := -I$(SRC)/include -I$(SRC)/lib
UOBJ      := $(OUT)/obj/user-mode

COMMA     := ,

# Segments begin at pages in memory; in the file that would be padding.
ULINK     := $(LD) -nostdlib -static -march=rv64gc -mabi=lp64d -mcmodel=medany \
             -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,max-page-size=8 \
             -Wl,-z,common-page-size=8 $(if $(CI)$(WERROR),-Wl$(COMMA)--fatal-warnings) \
             -T $(SRC)/user/user.ld

U_FILES   := $(filter-out $(SRC)/user/embed.S, \
                 $(shell find $(SRC)/user -name '*.[cS]' | sort))
U_OBJECTS := $(patsubst $(SRC)/%,$(UOBJ)/%.o,$(U_FILES))

# Folders of programs, by the kind of image, and the names of programs.
folders   = $(sort $(foreach f,$(filter $1/%,$(U_FILES:$(SRC)/%=%)),$1/$(firstword $(subst /, ,$(f:$1/%=%)))))
U_TEST    := $(filter $(addprefix user/test/,$(TESTS_ONLY)),$(call folders,user/test))
U_BENCH   := $(call folders,user/bench)
U_PLAIN   := $(filter-out user/test user/bench,$(call folders,user))
U_ALL     := $(U_PLAIN) $(U_TEST) $(U_BENCH)

# The members of the images. Sorted by name, since programs are listed so.
embedded  = $(patsubst %,$(OUT)/user/%.o,$(sort $(notdir $1)))
PROGRAMS       := $(call embedded,$(U_PLAIN))
TEST_PROGRAMS  := $(call embedded,$(U_PLAIN) $(U_TEST))
BENCH_PROGRAMS := $(call embedded,$(U_PLAIN) $(U_BENCH))

ifneq ($(words $(U_ALL)),$(words $(sort $(notdir $(U_ALL)))))
$(error two programs have the same name: $(U_ALL))
endif
ifneq ($(filter %.c %.S,$(notdir $(U_ALL))),)
$(error a program is a folder: $(filter %.c %.S,$(U_ALL)))
endif

# What is no program any more is none for gdb either.
STALE := $(filter-out $(addprefix $(OUT)/user/,$(addsuffix .%,$(notdir $(U_ALL))) librvos.a), \
                      $(wildcard $(OUT)/user/*))
$(if $(STALE),$(shell rm -f $(STALE)))

$(UOBJ)/%.c.o: $(SRC)/%.c $(UOBJ)/flags.list
	@mkdir -p $(@D)
	@$(CC) $(UCFLAGS) $(OPTIMISE) $(DEFINES) $(UINCLUDES) -MMD -MP -c -o $@ $<

$(UOBJ)/%.S.o: $(SRC)/%.S $(UOBJ)/flags.list
	@mkdir -p $(@D)
	@$(CC) $(UFLAGS) $(DEFINES) $(UINCLUDES) -MMD -MP -c -o $@ $<

$(UOBJ)/flags.list: MEMBERS = $(CC) $(UCFLAGS) $(OPTIMISE) $(DEFINES) $(ULINK)

# The library: all that a program may use. The linker takes what it does use.
L_FILES   := $(shell find $(SRC)/lib -name '*.[cS]' | sort)
L_OBJECTS := $(patsubst $(SRC)/%,$(UOBJ)/%.o,$(L_FILES))
LIBRARY   := $(OUT)/user/librvos.a

$(UOBJ)/library.list: MEMBERS = $(L_OBJECTS)
$(LIBRARY): $(L_OBJECTS) $(UOBJ)/library.list
	@mkdir -p $(@D) && rm -f $@
	@$(AR) rcsD $@ $(L_OBJECTS)

# $1: the folder of a program
define program
$(OUT)/user/$(notdir $1).elf: $(filter $(UOBJ)/$1/%,$(U_OBJECTS)) $(UOBJ)/$1.list
$(UOBJ)/$1.list: MEMBERS = $(filter $(UOBJ)/$1/%,$(U_OBJECTS))
endef
$(foreach folder,$(U_ALL),$(eval $(call program,$(folder))))

$(OUT)/user/%.elf: $(LIBRARY) $(SRC)/user/user.ld $(UOBJ)/flags.list
	@$(ULINK) -o $@ $(filter %.o,$^) $(LIBRARY) -lgcc

$(OUT)/user/%.stripped: $(OUT)/user/%.elf
	@$(OBJCOPY) --strip-all $< $@

$(OUT)/user/%.o: $(OUT)/user/%.stripped $(SRC)/user/embed.S $(FLAGFILE)
	@$(CC) $(KFLAGS) -DPROGRAM='"$*"' -DFILE='"$<"' -c -o $@ $(SRC)/user/embed.S

.SECONDARY: $(foreach folder,$(U_ALL),$(OUT)/user/$(notdir $(folder)).stripped)
-include $(U_OBJECTS:.o=.d) $(L_OBJECTS:.o=.d)
