# weave.mk: the book, on paper and on screens.

.PHONY: book html epub figures book-tools

book: book-tools ## weave the PDF: build/rvos.pdf
	@tools/weave pdf

html: book-tools ## weave the web edition: build/html/index.html
	@tools/weave html

epub: book-tools ## weave the EPUB: build/rvos.epub
	@tools/weave epub

figures: book-tools ## draw the figures: build/figures
	@tools/weave figures

book-tools:
	@if test -x tools/doctor; then tools/doctor --need pandoc xelatex latexmk pdftocairo; fi
