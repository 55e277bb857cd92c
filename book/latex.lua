-- The LaTeX writer of book/filter.lua: what the book adds to Markdown, as calls
-- of the macros in book/rvos.sty.

local M = {}

local specials = {
  ["\\"] = "\\textbackslash{}", ["{"] = "\\{", ["}"] = "\\}", ["$"] = "\\$", ["&"] = "\\&",
  ["#"] = "\\#", ["%"] = "\\%", ["_"] = "\\_", ["^"] = "\\textasciicircum{}",
  ["~"] = "\\textasciitilde{}", ["<"] = "\\textless{}", [">"] = "\\textgreater{}",
}
local BREAK_AFTER = { ["/"] = true, ["_"] = true, [","] = true, ["="] = true, ["."] = true,
  ["-"] = true }

local function escape(text)
  return (text:gsub("[\\{}$&#%%_^~<>]", specials))
end

local function escape_code(text)
  return (escape(text):gsub(" ", "\\ "):gsub("([-`'\"])", "{%1}"))
end

-- Inline code may break after a few characters.
local function breakable(text)
  local out = {}
  for _, c in utf8.codes(text) do
    c = utf8.char(c)
    out[#out + 1] = c == " " and "\\codespace{}" or escape_code(c)
    if BREAK_AFTER[c] and #out > 1 then out[#out + 1] = "\\codebreak{}" end
  end
  return table.concat(out)
end

local function raw(text) return pandoc.RawBlock("latex", text) end
local function rawi(text) return pandoc.RawInline("latex", text) end

local function write(content)
  if type(content) == "string" then return escape(content) end
  return (pandoc.write(pandoc.Pandoc(content), "latex"):gsub("%s+$", ""))
end

local function write_inlines(content)
  return write { pandoc.Plain(content) }
end

local function chunk_name(name, is_file)
  return is_file and "\\nwfile{" .. breakable(name) .. "}" or "\\nwname{" .. escape(name) .. "}"
end

local function is_file(book, name)
  return book.model.chunks[book.model.names[name][1]].file
end

local function chunk_use(book, name)
  local ids = book.model.names[name]
  if not ids then return "\\nwname{" .. escape(name) .. "}" end
  return ("\\nwuse{%d}{%s}"):format(ids[1], chunk_name(name, is_file(book, name)))
end

-- Code --------------------------------------------------------------------------

local dress = {
  keyword = "\\nwK", type = "\\nwT", string = "\\nwS", comment = "\\nwC", number = "\\nwN",
  preprocessor = "\\nwP", label = "\\nwL", prompt = "\\nwPrompt", typed = "\\nwTyped",
}

local function line_of(book, line)
  local out = {}
  for _, token in ipairs(line) do
    local class, text = token[1], token[2]
    if class == "use" then
      out[#out + 1] = chunk_use(book, text)
    elseif (class == "name" or class == "label") and book.model.definitions[text] then
      local macro = dress[class] or ""
      out[#out + 1] = ("\\nwid{%d}{%s{%s}}"):format(book.model.definitions[text][1], macro, escape_code(text))
    else
      out[#out + 1] = (dress[class] or "") .. "{" .. escape_code(text) .. "}"
    end
  end
  return "\\nwline{" .. table.concat(out) .. "}"
end

-- Where a page may end: not in a short chunk, not next to the first or last
-- three lines, preferably before an empty line, and rather not close to one;
-- and never between two lines that nobody can read alone.
local WHOLE = 16

local function near_gap(lines, i)
  for j = i - 1, i + 2 do
    if #lines[j] == 0 then return true end
  end
end

local function text_of(line)
  local out = {}
  for i, token in ipairs(line) do out[i] = token[2] end
  return table.concat(out)
end

-- A brace is by itself, a comment or a list of parameters has begun.
local function belong_together(line, next)
  return next:match("^%s*[{}]%s*;?$") or line:match("^%s*{$")
    or line:match("^%s*/%*") and not line:match("%*/")
    or line:match(",$") and #next:match("^%s*") > #line:match("^%s*")
end

local function penalty(lines, i)
  if #lines <= WHOLE or i < 3 or i > #lines - 3 or #lines[i] == 0 or
    belong_together(text_of(lines[i]), text_of(lines[i + 1])) then return "\\nwkeep" end
  if #lines[i + 1] == 0 then return "\\nwgap" end
  return near_gap(lines, i) and "\\nwrather" or "\\nwmay"
end

-- An empty line of a chunk is glue, which vanishes where a page ends.
local function body(book, lines, painted)
  local out = {}
  for i, line in ipairs(lines) do
    out[#out + 1] = #line == 0 and not painted and "\\nwblank" or line_of(book, line)
    if i < #lines then out[#out + 1] = penalty(lines, i) end
  end
  return table.concat(out, "%\n")
end

local function labels(ids)
  local out = {}
  for i, id in ipairs(ids) do out[i] = ("\\nwlabel{%d}"):format(id) end
  return table.concat(out, ", ")
end

local SHOWN = 6

local function shortened(ids)
  if #ids <= SHOWN then return labels(ids) end
  local head = table.move(ids, 1, SHOWN - 1, 1, {})
  return labels(head) .. (", and %d more"):format(#ids - #head)
end

local function defines_note(book, number, chunk)
  local out = {}
  for _, name in ipairs(chunk.defines) do
    local uses = book.model.uses[name] or {}
    out[#out + 1] = "\\nwcode{" .. breakable(name) .. "}"
      .. (#uses > 0 and " (used in " .. shortened(uses) .. ")" or "")
  end
  return #out > 0 and "Defines " .. table.concat(out, ", ") .. "." or nil
end

local function notes(book, number, chunk)
  local out = pandoc.List()
  if chunk.next then out:insert(("Continued in \\nwlabel{%d}."):format(chunk.next)) end
  if chunk.part == 1 and #chunk.used_in > 0 then
    out:insert("Used in " .. shortened(chunk.used_in) .. ".")
  end
  out:insert(defines_note(book, number, chunk))
  return table.concat(out, " ")
end

local function arrows(chunk)
  local out = pandoc.List()
  if chunk.previous then out:insert(("\\nwprevious{%d}"):format(chunk.previous)) end
  if chunk.next then out:insert(("\\nwnext{%d}"):format(chunk.next)) end
  return table.concat(out, "\\quad ")
end

function M.chunk(book, number, chunk, lines)
  local name = chunk_name(chunk.name, chunk.file)
  local open = #chunk.lines == 0
  local out = {
    ("%% %s:%d\n\\begin{nwchunk}{%d}{%s}{%d}%%"):format(chunk.path, chunk.line, number, escape(chunk.path),
      chunk.first),
    ("\\nwhead{%d}{%s}{%s}{%s}%%"):format(number, name, chunk.part == 1 and "≡" or "+≡",
      open and "\\nwopen" or arrows(chunk)),
  }
  if not open then out[#out + 1] = "\\nwkeep " .. body(book, lines) .. "%" end
  local after = notes(book, number, chunk)
  if after ~= "" then out[#out + 1] = "\\nwkeep\\nwnotes{" .. after .. "}%" end
  out[#out + 1] = "\\end{nwchunk}"
  return raw(table.concat(out, "\n"))
end

function M.listing(book, listing)
  local out = { ("\\begin{nwlisting}{%s}{%d}%%"):format(listing.kind, listing.columns) }
  if listing.name then
    out[#out + 1] = "\\nwcaption{" .. escape(listing.name) .. "}\\nwkeep "
  end
  out[#out + 1] = body(book, listing.lines, listing.kind ~= "code") .. "%"
  out[#out + 1] = "\\end{nwlisting}"
  return raw(table.concat(out, "\n"))
end

-- Inlines -------------------------------------------------------------------------

function M.code(text)
  return rawi("\\nwcode{" .. breakable(text) .. "}")
end

function M.identifier(book, text, id)
  local found = book.model.definitions[text]
  if not found then return M.code(text) end
  return rawi(("\\nwmark{%s}\\nwid{%d}{\\nwcode{%s}}"):format(id, found[1], breakable(text)))
end

function M.chunk_reference(book, name)
  return rawi(chunk_use(book, name))
end

function M.reference(id, _, text)
  return rawi(("\\hyperref[%s]{%s}"):format(id, escape(text):gsub("\u{a0}", "~")))
end

function M.term(id, content, visible)
  local out = pandoc.List { rawi("\\nwmark{" .. id .. "}") }
  if visible then out:insert(pandoc.Emph(content)) else out:extend(content) end
  return out
end

function M.link(id, _, content)
  local out = pandoc.List { rawi("\\hyperref[" .. id .. "]{") }
  out:extend(content)
  out:insert(rawi "}")
  return out
end

function M.citation() end

-- Blocks ----------------------------------------------------------------------------

function M.figure(image)
  local file = image.src:gsub("^figures/", ""):gsub("%.%w+$", ".pdf")
  return raw(("\\begin{figure}[htbp]\n\\centering\\includegraphics{%s}\n\\caption{%s}%s\n\\end{figure}")
    :format(file, write_inlines(image.caption),
      image.identifier ~= "" and "\\label{" .. image.identifier .. "}" or ""))
end

local LONG = 30
local ALIGN = { AlignLeft = "l", AlignRight = "r", AlignCenter = "c", AlignDefault = "l" }
local RAGGED = { AlignLeft = "\\raggedright", AlignRight = "\\raggedleft", AlignCenter = "\\centering",
  AlignDefault = "\\raggedright" }

local function column(align, width)
  if width == 0 then return ALIGN[align] end
  return (">{%s\\arraybackslash}p{\\dimexpr %.4f\\linewidth-2\\tabcolsep}"):format(RAGGED[align], width)
end

local function row(cells)
  local out = {}
  for i, cell in ipairs(cells) do out[i] = write(cell) end
  return table.concat(out, " & ") .. " \\\\"
end

-- Short tables float and never break; long ones are left to longtable.
function M.table(tbl)
  local simple = pandoc.utils.to_simple_table(tbl)
  local id = tbl.attr.identifier
  if #simple.rows > LONG then
    if id ~= "" then
      simple.caption:insert(rawi("\\label{" .. id .. "}"))
    end
    return pandoc.utils.from_simple_table(simple)
  end
  local columns, rows = {}, {}
  for i, align in ipairs(simple.aligns) do columns[i] = column(align, simple.widths[i]) end
  for i, cells in ipairs(simple.rows) do rows[i] = row(cells) end
  local head = row(simple.headers)
  local inner = ("\\begin{tabular}{@{}%s@{}}\n\\toprule\n%s%s\n\\bottomrule\n\\end{tabular}")
    :format(table.concat(columns), head:match "[^ &\\]" and head .. "\n\\midrule\n" or "",
      table.concat(rows, "\n"))
  if #simple.caption == 0 then return raw("\\begin{center}\\small\n" .. inner .. "\n\\end{center}") end
  return raw(("\\begin{table}[htbp]\n\\centering\\small\n\\caption{%s}%s\n%s\n\\end{table}"):format(
    write_inlines(simple.caption), id ~= "" and "\\label{" .. id .. "}" or "", inner))
end

function M.exercise(book, about)
  local out = pandoc.List {
    raw(("\\begin{exercise}{%s}{%s}{%s}"):format(about.number, escape(about.title), about.rating)) }
  out:extend(about.content)
  if about.checks then
    local touched = {}
    for i, name in ipairs(about.chunks) do touched[i] = chunk_use(book, name) end
    out:insert(raw(("\\exercisetest{%s}{%s}{%s}"):format(table.concat(touched, ", "), about.number, about.checks)))
  end
  out:insert(raw "\\end{exercise}")
  return out
end

-- The whole book ----------------------------------------------------------------------

local matter = { front = "\\frontstart", main = "\\mainmatter", appendix = "\\appendix",
  back = "\\backmatter\\openany" }

local function header(block)
  local number = block.attributes.number
  local out = pandoc.List()
  if block.level == 1 then
    if block.attributes.part then
      out:insert(raw("\\part{" .. escape(block.attributes.part) .. "}"))
    end
    if number and tonumber(number) then
      out:insert(raw(("\\setcounter{chapter}{%d}"):format(tonumber(number) - 1)))
    end
  end
  block.attributes = {}
  out:insert(block)
  if not number and block.level == 1 then
    out:insert(raw("\\chaptermarks{" .. write_inlines(block.content) .. "}"))
  end
  return out
end

local function pages(ids, book, main)
  local keyed = pandoc.List(ids)
  keyed:sort(function(a, b) return (book.order[a] or 0) < (book.order[b] or 0) end)
  local out = {}
  for i, id in ipairs(keyed) do out[i] = id end
  return ("\\nwpages{%s}{%s}"):format(main and "\\nwmain" or "\\nwplain", table.concat(out, ","))
end

local function sorted(keys)
  local out = {}
  for key in pairs(keys) do out[#out + 1] = key end
  table.sort(out, function(a, b)
    local x, y = a:lower():gsub("^[_.]+", ""), b:lower():gsub("^[_.]+", "")
    return x == y and a < b or x < y
  end)
  return out
end

local function marks(numbers)
  local out = {}
  for i, number in ipairs(numbers or {}) do out[i] = "nw." .. number end
  return out
end

local function index(title, entries)
  if #entries == 0 then return nil end
  return raw("\\begin{bookindex}{" .. title .. "}\n" .. table.concat(entries, "\n") .. "\n\\end{bookindex}")
end

local function chunk_index(book)
  local entries = {}
  for _, name in ipairs(sorted(book.model.names)) do
    local ids = book.model.names[name]
    local used = book.model.chunks[ids[1]].used_in
    entries[#entries + 1] = ("\\indexentry{⟨%s⟩}{\\textbf{%s}%s}"):format(
      chunk_name(name, is_file(book, name)), labels(ids),
      #used > 0 and ", used in " .. labels(used) or "")
  end
  return index("Index of chunks", entries)
end

local function identifier_index(book)
  local entries = {}
  for _, name in ipairs(sorted(book.model.definitions)) do
    local uses = marks(book.model.uses[name])
    for _, id in ipairs(book.mentions[name] or {}) do uses[#uses + 1] = id end
    entries[#entries + 1] = ("\\indexentry{\\nwcode{%s}}{%s%s}"):format(breakable(name),
      pages(marks(book.model.definitions[name]), book, true),
      #uses > 0 and pages(uses, book) or "")
  end
  return index("Index of identifiers", entries)
end

local function subject_index(book)
  local entries = {}
  for _, term in ipairs(sorted(book.terms)) do
    local ids = {}
    for i, use in ipairs(book.terms[term]) do ids[i] = use.id end
    entries[#entries + 1] = ("\\indexentry{%s}{%s}"):format(escape(term), pages(ids, book))
  end
  return index("Index of subjects", entries)
end

local function back_matter(book)
  local out = pandoc.List()
  if #book.answers > 0 then
    out:insert(raw "\\backchapter{Answers to exercises rated 0}")
    for _, answer in ipairs(book.answers) do
      local target = book.labels["ex:" .. answer.number] or {}
      out:insert(raw(("\\begin{answer}{%s}{%s}"):format(answer.number, escape(target.title or ""))))
      out:extend(answer.blocks)
      out:insert(raw "\\end{answer}")
    end
  end
  if #book.references > 0 then
    out:insert(raw "\\backchapter{Bibliography}")
    out:extend(book.references)
  end
  out:insert(chunk_index(book))
  out:insert(identifier_index(book))
  out:insert(subject_index(book))
  return out
end

local function top_div(book)
  return function(div)
    if div.classes:includes "matter" then
      return raw(matter[div.attributes.of])
    elseif div.classes:includes "backmatter" then
      return back_matter(book)
    elseif div.classes:includes "chapter" then
      return {}
    end
  end
end

function M.arrange(book, doc)
  return doc:walk { Header = header }:walk { Div = top_div(book) }
end

return M
