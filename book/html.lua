-- The HTML writer of book/filter.lua: pages for the web and for the EPUB.
--
-- It leaves in $WEAVE_OUT/pages one fragment a page and contents.tsv, which
-- lists parts, pages and sections in order; tools/weave_html.py and
-- tools/weave_epub.py make web pages and a book of them.

local M = {}

local specials = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

local function escape(text)
  return (text:gsub('[&<>"]', specials))
end

local function raw(text) return pandoc.RawBlock("html", text) end
local function rawi(text) return pandoc.RawInline("html", text) end

local function write(blocks)
  return pandoc.write(pandoc.Pandoc(blocks), "html5", { html_math_method = "mathml", wrap_text = "none" })
end

local function write_inlines(content)
  return (write { pandoc.Plain(content) }:gsub("%s+$", ""))
end

-- Addresses ---------------------------------------------------------------------

-- Colons are not for identifiers in XML.
local function anchor(id)
  return (id:gsub(":", "-"))
end

local function file_of(page)
  return (page or "index"):gsub("^%a+:", "") .. ".html"
end

local function href(page, id)
  return file_of(page) .. "#" .. anchor(id)
end

local slugs, taken = {}, {}

local function chunk_anchor(book, number)
  if not slugs[number] then
    local chunk = book.model.chunks[number]
    local slug = "c-" .. chunk.name:lower():gsub("[^%w]+", "-"):gsub("^%-", ""):gsub("%-$", "")
    if chunk.part > 1 then slug = slug .. "-" .. chunk.part end
    if taken[slug] then slug = slug .. "-n" .. number end
    taken[slug], slugs[number] = true, slug
  end
  return slugs[number]
end

local function chunk_href(book, number)
  local where = book.where["nw." .. number] or {}
  return href(where.page, chunk_anchor(book, number))
end

-- Code ----------------------------------------------------------------------------

local dress = { keyword = "kw", type = "ty", string = "st", comment = "co", number = "nu",
  preprocessor = "pp", label = "la", prompt = "prompt", typed = "typed" }

local function chunk_name(name, is_file)
  return is_file and "<code>" .. escape(name) .. "</code>" or "<i>" .. escape(name) .. "</i>"
end

local function chunk_link(book, name)
  local ids = book.model.names[name]
  if not ids then return escape(name) end
  return ('<span class="use">⟨<a href="%s">%s</a>⟩</span>'):format(chunk_href(book, ids[1]),
    chunk_name(name, book.model.chunks[ids[1]].file))
end

local function identifier_link(book, name, class)
  local number = book.model.definitions[name][1]
  return ('<a class="id%s" href="%s">%s</a>'):format(class and " " .. class or "",
    chunk_href(book, number), escape(name))
end

local function line_of(book, line)
  local out = {}
  for _, token in ipairs(line) do
    local class, text = token[1], token[2]
    if class == "use" then
      out[#out + 1] = chunk_link(book, text)
    elseif (class == "name" or class == "label") and book.model.definitions[text] then
      out[#out + 1] = identifier_link(book, text, dress[class])
    elseif dress[class] then
      out[#out + 1] = ('<span class="%s">%s</span>'):format(dress[class], escape(text))
    else
      out[#out + 1] = escape(text)
    end
  end
  return table.concat(out)
end

local function body(book, lines, class)
  local out = {}
  for i, line in ipairs(lines) do out[i] = line_of(book, line) end
  return ('<pre%s tabindex="0"><code>%s</code></pre>'):format(class and (' class="%s"'):format(class) or "",
    table.concat(out, "\n"))
end

-- The section that a chunk is in stands for it where print has a page.
local function place_link(book, number)
  local where = book.where["nw." .. number] or {}
  return ('<a href="%s">%s</a>'):format(chunk_href(book, number), escape(where.section or "?"))
end

local SHOWN = 6

local function users(book, ids)
  local out = {}
  for i, id in ipairs(ids) do
    if i > SHOWN then
      out[#out + 1] = ("and %d more"):format(#ids - SHOWN)
      break
    end
    local chunk = book.model.chunks[id]
    out[#out + 1] = ('<span class="use">⟨<a href="%s">%s</a>⟩</span>'):format(chunk_href(book, id),
      chunk_name(chunk.name, chunk.file))
  end
  return table.concat(out, ", ")
end

local function notes(book, chunk)
  local out = pandoc.List()
  if chunk.next then out:insert("Continued in " .. place_link(book, chunk.next) .. ".") end
  if chunk.part == 1 and #chunk.used_in > 0 then
    out:insert("Used in " .. users(book, chunk.used_in) .. ".")
  end
  local defined = pandoc.List()
  for _, name in ipairs(chunk.defines) do
    local uses = book.model.uses[name] or {}
    defined:insert("<code>" .. escape(name) .. "</code>"
      .. (#uses > 0 and " (used in " .. users(book, uses) .. ")" or ""))
  end
  if #defined > 0 then out:insert("Defines " .. table.concat(defined, ", ") .. ".") end
  return table.concat(out, " ")
end

local function arrows(book, chunk)
  local out = pandoc.List()
  if chunk.previous then
    out:insert(('<a href="%s" title="previous part">← %d</a>'):format(chunk_href(book, chunk.previous), chunk.part - 1))
  end
  if chunk.parts > 1 then out:insert(("<span>%d of %d</span>"):format(chunk.part, chunk.parts)) end
  if chunk.next then
    out:insert(('<a href="%s" title="next part">%d →</a>'):format(chunk_href(book, chunk.next), chunk.part + 1))
  end
  return table.concat(out, " ")
end

function M.chunk(book, number, chunk, lines)
  local id = chunk_anchor(book, number)
  local open = #chunk.lines == 0
  local after = notes(book, chunk)
  local out = {
    ('<div class="chunk" id="%s">'):format(id),
    ('<div class="chunk-head"><span>⟨<a href="#%s">%s</a>⟩%s</span> <span class="chunk-nav">%s%s</span></div>')
      :format(id, chunk_name(chunk.name, chunk.file), chunk.part == 1 and "≡" or "+≡",
        open and '<span class="open">open: later chapters add here</span> ' or "", arrows(book, chunk)),
  }
  if not open then out[#out + 1] = body(book, lines) end
  if after ~= "" then out[#out + 1] = '<div class="chunk-notes">' .. after .. "</div>" end
  out[#out + 1] = "</div>"
  return raw(table.concat(out, "\n"))
end

function M.listing(book, listing)
  local code = body(book, listing.lines, listing.kind)
  if listing.name then
    code = ('<div class="whole"><div class="chunk-notes"><i>%s</i>, reassembled</div>%s</div>')
      :format(escape(listing.name), code)
  end
  return raw(code)
end

-- Inlines ----------------------------------------------------------------------------

function M.code(text)
  return rawi("<code>" .. escape(text) .. "</code>")
end

function M.identifier(book, text, id)
  if not book.model.definitions[text] then return M.code(text) end
  return rawi(('<code id="%s">%s</code>'):format(id, identifier_link(book, text)))
end

function M.chunk_reference(book, name)
  return rawi(chunk_link(book, name))
end

function M.link(id, target, content)
  return pandoc.Link(content, href(target.page, id))
end

function M.reference(id, target, text)
  return M.link(id, target, { pandoc.Str(text) })
end

function M.citation(inline)
  inline.target = file_of("bibliography") .. inline.target
  return inline
end

function M.term(id, content, visible)
  local inner = visible and { pandoc.Emph(content) } or content
  return pandoc.Span(inner, { id = id })
end

-- Blocks --------------------------------------------------------------------------------

function M.figure(image)
  local file = image.src:gsub("%.%w+$", ".svg")
  return raw(('<figure id="%s"><div class="card"><img src="%s" alt="%s"/></div>'
    .. '<figcaption><b>Figure %s</b> %s</figcaption></figure>'):format(anchor(image.identifier), file,
      escape(pandoc.utils.stringify(image.caption)), image.attributes.number, write_inlines(image.caption)))
end

function M.table(tbl)
  local number, id = tbl.attr.attributes.number, tbl.attr.identifier
  if number then
    local caption = tbl.caption.long[1]
    caption.content:insert(1, pandoc.Space())
    caption.content:insert(1, pandoc.Strong("Table " .. number))
    tbl.caption.long[1] = caption
  end
  tbl.attr = pandoc.Attr()
  return pandoc.Div({ tbl }, { id = anchor(id), class = "table" })
end

function M.exercise(book, about)
  local head = ('<section class="exercise" id="%s"><p class="exercise-head"><b>%s</b> <b>%s</b> '
    .. '<span class="rating">[%s]</span></p>'):format(anchor(about.id), about.number, escape(about.title), about.rating)
  local out = pandoc.List { raw(head) }
  out:extend(about.content)
  local foot = pandoc.List()
  if #about.chunks > 0 then
    local touched = {}
    for i, name in ipairs(about.chunks) do touched[i] = chunk_link(book, name) end
    foot:insert("<i>Touches</i> " .. table.concat(touched, ", ") .. ".")
  end
  if about.checks then
    foot:insert(("<i>Test</i> <code>make grade EX=%s</code>, %s checks."):format(about.number, about.checks))
  end
  if book.answered[about.number] then
    foot:insert(('<a href="answers.html#answer-%s">Answer</a>'):format(about.number))
  end
  if #foot > 0 then out:insert(raw('<p class="exercise-foot">' .. table.concat(foot, " ") .. "</p>")) end
  out:insert(raw "</section>")
  return out
end

-- Back matter -------------------------------------------------------------------------------

local function sorted(keys)
  local out = {}
  for key in pairs(keys) do out[#out + 1] = key end
  table.sort(out, function(a, b)
    local x, y = a:lower():gsub("^[_.]+", ""), b:lower():gsub("^[_.]+", "")
    return x == y and a < b or x < y
  end)
  return out
end

local function mark_links(book, ids)
  local out, last = {}, nil
  for _, id in ipairs(ids) do
    local where = book.where[id]
    if where.section ~= last then
      out[#out + 1] = ('<a href="%s">%s</a>'):format(href(where.page, id), escape(where.section or "?"))
    end
    last = where.section
  end
  return table.concat(out, ", ")
end

local function list(entries)
  return raw('<ul class="book-index">\n' .. table.concat(entries, "\n") .. "\n</ul>")
end

local function chunk_index(book)
  local out = {}
  for _, name in ipairs(sorted(book.model.names)) do
    local places = {}
    for i, id in ipairs(book.model.names[name]) do places[i] = place_link(book, id) end
    local used = book.model.chunks[book.model.names[name][1]].used_in
    out[#out + 1] = ("<li>%s <b>%s</b>%s</li>"):format(chunk_link(book, name), table.concat(places, ", "),
      #used > 0 and "; used in " .. users(book, used) or "")
  end
  return out
end

local function identifier_index(book)
  local out = {}
  for _, name in ipairs(sorted(book.model.definitions)) do
    local places, seen = pandoc.List(), {}
    local function add(id, form)
      local section = (book.where["nw." .. id] or {}).section or "?"
      if not seen[section] then places:insert(form:format(place_link(book, id))) end
      seen[section] = true
    end
    for _, id in ipairs(book.model.definitions[name]) do add(id, "<b>%s</b>") end
    for _, id in ipairs(book.model.uses[name] or {}) do add(id, "%s") end
    local prose = book.mentions[name]
    out[#out + 1] = ("<li><code>%s</code> %s%s</li>"):format(identifier_link(book, name),
      table.concat(places, ", "), prose and "; in the text " .. mark_links(book, prose) or "")
  end
  return out
end

local function subject_index(book)
  local out = {}
  for _, term in ipairs(sorted(book.terms)) do
    local ids = {}
    for i, use in ipairs(book.terms[term]) do ids[i] = use.id end
    out[#out + 1] = ("<li>%s %s</li>"):format(escape(term), mark_links(book, ids))
  end
  return out
end

local function answers(book)
  local out = pandoc.List()
  for _, answer in ipairs(book.answers) do
    local target = book.labels["ex:" .. answer.number]
    if target then
      out:insert(raw(('<section class="answer" id="answer-%s"><p class="exercise-head"><a href="%s"><b>%s %s</b></a></p>')
        :format(answer.number, href(target.page, "ex:" .. answer.number), answer.number, escape(target.title or ""))))
      out:extend(answer.blocks)
      out:insert(raw "</section>")
    end
  end
  return out
end

local function back_matter(book)
  local out = pandoc.List()
  local function page(title, id, blocks)
    if #blocks == 0 then return end
    out:insert(pandoc.Header(1, title, { id = id, class = "unnumbered" }))
    out:extend(blocks)
  end
  page("Answers to exercises rated 0", "answers", answers(book))
  page("Bibliography", "bibliography", book.references)
  page("Index of chunks", "chunks", { list(chunk_index(book)) })
  page("Index of identifiers", "identifiers", { list(identifier_index(book)) })
  page("Index of subjects", "subjects", { list(subject_index(book)) })
  return out
end

-- Pages ------------------------------------------------------------------------------------------

local out_dir = os.getenv "WEAVE_OUT"

local function save(name, text)
  local file = assert(io.open(out_dir .. "/pages/" .. name, "w"))
  file:write(text)
  file:close()
end

local contents = {}

local function note(...)
  contents[#contents + 1] = table.concat({ ... }, "\t")
end

local function heading(header, page)
  local number = header.attributes.number or ""
  local title = write_inlines(header.content)
  header.attributes = {}
  if header.level == 1 then
    note("page", file_of(page), number, title)
  elseif header.level == 2 then
    note("section", anchor(header.identifier), number, title)
  end
  if number ~= "" then
    local word = header.level > 1 and "" or number:match "%a" and "Appendix " or "Chapter "
    header.content:insert(1, pandoc.Space())
    header.content:insert(1, rawi('<span class="number">' .. word .. number .. "</span>"))
  end
  header.identifier = anchor(header.identifier)
  return header
end

local function arranged(blocks, book)
  local out = pandoc.List()
  for _, block in ipairs(blocks) do
    if block.t == "Div" and block.classes:includes "backmatter" then
      out:extend(back_matter(book))
    elseif not (block.t == "Div" and (block.classes:includes "matter" or block.classes:includes "chapter")) then
      out:insert(block)
    end
  end
  return out
end

function M.arrange(book, doc)
  local page, blocks
  local function finish()
    if page then save(file_of(page), write(blocks)) end
  end
  for _, block in ipairs(arranged(doc.blocks, book)) do
    if block.t == "Header" then
      if block.level == 1 then
        finish()
        page, blocks = block.identifier, pandoc.List()
        if block.attributes.part then note("part", escape(block.attributes.part)) end
      end
      block = heading(block, page)
    end
    if blocks then blocks:insert(block) end
  end
  finish()
  save("contents.tsv", table.concat(contents, "\n") .. "\n")
  return pandoc.Pandoc {}
end

return M
