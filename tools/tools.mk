# Setting up, checking the tools, and checking the text.

.PHONY: setup setup-book doctor lint clang

setup: ## install what building, running and testing need
	@tools/setup base

setup-book: ## install what the book needs besides
	@tools/setup book

doctor: ## say which tools are here and what repairs the rest
	@tools/doctor

lint: ## check what a script can check
	@$(NEED) "make lint" python3 noweb gcc clang-format cppcheck shellcheck pyflakes
	@tools/lint

clang: ## build every stage with clang, warnings being errors
	@$(NEED) "make clang" python3 noweb gcc clang
	@set -e; for n in $(STAGES); do \
	    $(MAKE) -j$(JOBS) -f tools/build.mk CC_KIND=clang WERROR=1 STAGE=$$n \
	        OUT=build/clang/stage-$$(printf %02d $$n) test-image; \
	done; echo "clang: $(words $(STAGES)) stages built, no warnings"
