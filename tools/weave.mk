# weave.mk: the book, on paper and on screens.

.PHONY: book html epub figures

book: ## weave the PDF: build/rvos.pdf
	@$(NEED) "make book" pandoc xelatex latexmk pdftotext
	@tools/weave pdf

html: ## weave the web edition: build/html/index.html
	@$(NEED) "make html" pandoc xelatex pdftotext
	@tools/weave html

epub: ## weave the EPUB: build/rvos.epub
	@$(NEED) "make epub" pandoc xelatex pdftotext
	@tools/weave epub

figures: ## draw the figures: build/figures
	@$(NEED) "make figures" xelatex pdftotext
	@tools/weave figures
