-- The pandoc filter of the book, the same for PDF, web and EPUB.
--
-- Pass 1 walks the document in reading order and numbers everything: chapters,
-- sections, figures, tables, exercises, and each mention of an identifier or a
-- term. Pass 2 replaces what the book adds to Markdown by what the writer
-- (book/latex.lua or book/html.lua) makes of it. The writer then arranges the
-- pages and the back matter.

local here = PANDOC_SCRIPT_FILE:match "^(.*)/" or "."
package.path = here .. "/?.lua;" .. package.path

local lexers = require "lexers"
local writer = require(FORMAT:match "latex" and "latex" or "html")

local MARKS = { ["\u{e000}"] = "identifier", ["\u{e002}"] = "chunkref" }
local MARK_END = "\u{e001}"

local book = {
  model = dofile(os.getenv "WEAVE_MODEL"),
  labels = {},        -- id -> {kind, number, title, page}
  mentions = {},      -- identifier -> marks in prose
  terms = {},         -- term -> marks
  answers = {},       -- in reading order: {number, title, blocks}
  references = pandoc.List(),
  answered = {},      -- exercise numbers that have an answer
  order = {},         -- mark or chunk -> its place in the reading order
  where = {},         -- mark or chunk -> {page, section}
}

local function problem(kind, what)
  io.stderr:write("weave: ", kind, ": ", what, "\n")
end

-- Pass 1: numbers -------------------------------------------------------------

local count = { chapter = nil, section = 0, subsection = 0, figure = 0, table = 0, mark = 0 }
local next_number

-- Note the place of something that an index will list.
local function place(id)
  count.mark = count.mark + 1
  book.order[id] = count.mark
  book.where[id] = { page = count.page, section = count.place }
  return id
end

local function mark(prefix)
  return place(prefix .. "." .. count.mark + 1)
end

local function label(id, kind, number, title)
  if id == "" then return end
  if book.labels[id] then
    problem("duplicate", id)
  end
  book.labels[id] = { kind = kind, number = number, title = title, page = count.page }
end

local function in_chapter(n)
  return count.chapter and count.chapter .. "." .. n or tostring(n)
end

-- Headings travel to the contents and the running heads: no links inside.
local function unmarked(header)
  return header:walk { Str = function(str)
    local text = str.text:gsub(MARK_END, "")
    for character in pairs(MARKS) do text = text:gsub(character, "") end
    return text == "" and {} or pandoc.Str(text)
  end }
end

local function number_header(header)
  header = unmarked(header)
  local plain = header.classes:includes "unnumbered"
  local number
  if header.level == 1 then
    number = not plain and next_number or nil
    next_number = nil
    count.chapter, count.section, count.figure, count.table = number, 0, 0, 0
    count.page = header.identifier
  elseif header.level == 2 and not plain and count.chapter then
    count.section, count.subsection = count.section + 1, 0
    number = in_chapter(count.section)
  elseif header.level == 3 and not plain and count.chapter then
    count.subsection = count.subsection + 1
    number = in_chapter(count.section) .. "." .. count.subsection
  end
  count.place = number or header.level == 1 and pandoc.utils.stringify(header) or count.place
  local kind = header.level > 1 and "Section" or (number or ""):match "%a" and "Appendix" or "Chapter"
  label(header.identifier, kind, number, header.content)
  if number and header.level < 3 then header.attributes.number = number end
  return header
end

local function figure_of(para)
  local image = para.content[1]
  if #para.content == 1 and image.t == "Image" and image.title:match "^fig:" then
    return image
  end
end

local function number_figure(para)
  local image = figure_of(para)
  if image then
    count.figure = count.figure + 1
    image.attributes.number = in_chapter(count.figure)
    label(image.identifier, "Figure", in_chapter(count.figure))
    return para
  end
end

-- pandoc 2.17 leaves `{#tab:x}` in the caption's text.
local function number_table(tbl)
  local caption = tbl.caption.long[1]
  if not caption then return end
  count.table = count.table + 1
  tbl.attr.attributes.number = in_chapter(count.table)
  local last = caption.content[#caption.content]
  local id = last and last.t == "Str" and last.text:match "^{#(.+)}$"
  if id then
    caption.content:remove()
    if #caption.content > 0 and caption.content[#caption.content].t == "Space" then
      caption.content:remove()
    end
    tbl.attr.identifier = id
    label(id, "Table", in_chapter(count.table))
  end
  tbl.caption.long[1] = caption
  return tbl
end

local function number_exercise(div)
  local number = div.identifier:match "^ex:(.+)$"
  if not number then
    problem("exercise", "an exercise without #ex:N.M")
    return
  end
  div.attributes.number = number
  label(div.identifier, "Exercise", number)
  return div
end

local function number_div(div)
  if div.classes:includes "chapter" then
    next_number = div.attributes.number
    return div
  elseif div.classes:includes "exercise" then
    return number_exercise(div)
  elseif div.classes:includes "answer" then
    book.answered[div.attributes.ex or ""] = true
  end
end

-- [[x]] arrives as Str "…mark", Code x, Str "end…".
local function join_marks(inlines)
  local out, pending, changed = pandoc.List(), nil, false
  for _, inline in ipairs(inlines) do
    if inline.t == "Code" and pending then
      inline.classes:insert(pending)
      if pending == "identifier" and book.model.definitions[inline.text] then
        inline.identifier = mark "use"
        local list = book.mentions[inline.text] or {}
        book.mentions[inline.text] = list
        list[#list + 1] = inline.identifier
      end
      pending, changed = nil, true
    elseif inline.t == "Str" then
      local text = inline.text:gsub(MARK_END, "")
      for character, class in pairs(MARKS) do
        if text:sub(-#character) == character then
          pending, text = class, text:sub(1, -#character - 1)
        end
      end
      inline = text ~= "" and pandoc.Str(text) or nil
    end
    if inline then out:insert(inline) end
  end
  return changed and out or nil
end

local function number_term(span)
  if not (span.classes:includes "term" or span.classes:includes "index") then return end
  local term = span.attributes.of or pandoc.utils.stringify(span):lower()
  span.identifier = mark "term"
  book.terms[term] = book.terms[term] or {}
  table.insert(book.terms[term], { id = span.identifier, main = span.classes:includes "term" })
  return span
end

local function number_chunk(block)
  if block.classes:includes "chunk" then
    place("nw." .. block.attributes.number)
  end
end

local numbering = {
  traverse = "topdown",
  Header = number_header, Para = number_figure, Table = number_table,
  Div = number_div, Inlines = join_marks, Span = number_term, CodeBlock = number_chunk,
}

-- Pass 2: what the book adds to Markdown -----------------------------------------

-- The lines of a chunk as tokens; uses of chunks become tokens too.
local function chunk_tokens(chunk)
  local text, used = {}, {}
  for _, line in ipairs(chunk.lines) do
    local parts = {}
    for _, part in ipairs(line) do
      if part[1] == "use" then
        used[#used + 1] = part[2]
        parts[#parts + 1] = utf8.char(0xe000 + #used)
      else
        parts[#parts + 1] = part[2]
      end
    end
    text[#text + 1] = table.concat(parts)
  end
  local lines = lexers.lex(lexers.untab(table.concat(text, "\n")), chunk.lang)
  for _, line in ipairs(lines) do
    for _, token in ipairs(line) do
      if token[1] == "use" then token[2] = used[utf8.codepoint(token[2]) - 0xe000] end
    end
  end
  return lines
end

local function code_block(block)
  if block.classes:includes "chunk" then
    local number = tonumber(block.attributes.number)
    local chunk = book.model.chunks[number]
    return writer.chunk(book, number, chunk, chunk_tokens(chunk))
  elseif block.classes:includes "reassembled" then
    local listing = book.model.reassembled[tonumber(block.attributes.number or "0")]
    if not listing then return {} end
    local code = lexers.untab(listing.code)
    return writer.listing(book, {
      lines = lexers.lex(code, listing.lang), columns = lexers.columns(code),
      name = block.attributes.chunk, kind = "reassembled" })
  end
  local kind = block.classes[1] or "text"
  if kind == "{=latex}" then return end
  local code = lexers.untab(block.text)
  return writer.listing(book, {
    lines = lexers.lex(code, kind), columns = lexers.columns(code),
    kind = kind == "console" and "console" or "code" })
end

local function code(inline)
  if inline.classes:includes "identifier" then
    return writer.identifier(book, inline.text, inline.identifier)
  elseif inline.classes:includes "chunkref" then
    return writer.chunk_reference(book, inline.text)
  end
  return writer.code(inline.text)
end

local function link(inline)
  local id = inline.target:match "^#(.+)$"
  if not id then return end
  if id:match "^ref%-" then return writer.citation(inline) end
  local target = book.labels[id]
  if not target then
    problem("dangling", id)
    return pandoc.Strong "??"
  end
  if #inline.content > 0 then return writer.link(id, target, inline.content) end
  if not target.number then
    return writer.reference(id, target, pandoc.utils.stringify(target.title))
  end
  return writer.reference(id, target, target.kind .. "\u{a0}" .. target.number)
end

local function span(inline)
  if inline.classes:includes "value" then
    return inline.content
  elseif inline.classes:includes "term" or inline.classes:includes "index" then
    return writer.term(inline.identifier, inline.content, inline.classes:includes "term")
  end
end

local function exercise(div)
  local number = div.attributes.number
  if not number then return end
  local graded = book.model.exercises[number]
  local about = {
    id = div.identifier, number = number, content = div.content,
    title = graded and graded.title or div.attributes.title or "",
    rating = graded and graded.rating or div.attributes.rating or "?",
    checks = graded and graded.checks, chunks = {},
  }
  for name in ((graded or {}).chunks or ""):gmatch "[^;]+" do
    table.insert(about.chunks, (name:gsub("^%s+", ""):gsub("%s+$", "")))
  end
  book.labels[div.identifier].title = about.title
  return writer.exercise(book, about)
end

local function answer(div)
  table.insert(book.answers, { number = div.attributes.ex, blocks = div.content })
  return {}
end

local function div(block)
  if block.identifier == "refs" then
    book.references:extend { block }
    return {}
  elseif block.classes:includes "exercise" then
    return exercise(block)
  elseif block.classes:includes "answer" then
    return answer(block)
  end
end

local function para(block)
  local image = figure_of(block)
  if image then
    return writer.figure(image)
  end
end

local inlines = { Code = code, Link = link, Span = span }
local blocks = { CodeBlock = code_block, Para = para, Table = writer.table }

function Pandoc(doc)
  doc = doc:walk(numbering)
  doc = doc:walk(inlines):walk(blocks):walk { Div = div }
  return writer.arrange(book, doc)
end

return { { Pandoc = Pandoc } }
