# Exercises: what to do, hints, grading, and proving that the graders grade.

.PHONY: exercise hint grade grade-all exercises
WHICH = $(if $(EX),,$(error say which exercise: make $@ EX=1.1))

exercise: ## say what exercise EX=n.m asks and make your file (without EX: list them)
	@tools/exercise $(if $(EX),start $(EX),list)

hint: ## give the next hint for exercise EX=n.m
	@$(WHICH)tools/exercise hint $(EX)

grade: ## test your answer to exercise EX=n.m
	@$(WHICH)$(NEED) "make grade" python3 noweb gcc qemu
	@tools/exercise grade $(EX)

grade-all: ## grade a class: DIR=folder with a subfolder a student [EX="n.m …"]
	@$(if $(DIR),,$(error say which class: make $@ DIR=submissions))$(NEED) "make grade-all" python3 noweb gcc qemu
	@tools/exercise grade-all "$(DIR)" $(EX)

exercises: ## prove the grader of every exercise against starter, solution and mutants
	@$(NEED) "make exercises" python3 noweb gcc qemu
	@tools/exercise gates $(EX)
