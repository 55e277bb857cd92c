-- Lexers for the languages that the book prints: each turns a text into lines
-- of {class, text} tokens, which the writers of book/latex.lua and
-- book/html.lua dress up.
--
-- Classes: keyword, type, string, comment, number, preprocessor, label, name
-- (an identifier), use (a private-use character that stands for a chunk),
-- prompt, typed; plain text has the class "".

local P, R, S, C, Cc, Ct = lpeg.P, lpeg.R, lpeg.S, lpeg.C, lpeg.Cc, lpeg.Ct

local letter = R("az", "AZ") + "_"
local digit = R "09"
local hex = R("09", "af", "AF")
local alnum = letter + digit
local eol = P "\n"
local rest = (1 - eol) ^ 0
local blank = S " \t"

local function token(class, pattern)
  return Ct(Cc(class) * C(pattern))
end

local function set(words)
  local found = {}
  for word in words:gmatch "%S+" do found[word] = true end
  return found
end

-- An identifier-like word whose class depends on what it says.
local function word(pattern, class_of)
  return Ct(lpeg.Cmt(C(pattern), function(_, i, w) return i, class_of(w), w end))
end

local use = token("use", P "\xEE" * 1 * 1 + P "\xEF" * R "\x80\xA3" * 1)
local space = token("", S " \t\n" ^ 1)
local any = token("", R "\xC0\xFF" * R "\x80\xBF" ^ 0 + 1)
local number = token("number",
  (P "0x" * hex ^ 1 + P "0b" * S "01" ^ 1 + digit ^ 1 * (P "." * digit ^ 1) ^ -1) * S "uUlLfKMG" ^ 0)

local function quoted(mark)
  return token("string", P(mark) * (P "\\" * 1 + (1 - S(mark .. "\n"))) ^ 0 * P(mark) ^ -1)
end

local block_comment = token("comment", P "/*" * (1 - P "*/") ^ 0 * P "*/" ^ -1)
local line_comment = token("comment", P "//" * rest)
local hash_comment = token("comment", P "#" * rest)

-- C ------------------------------------------------------------------------

local c_keywords = set [[auto break case const continue default do else enum extern for goto if
  inline register restrict return sizeof static struct switch typedef union volatile while
  asm __asm__ __volatile__ _Static_assert static_assert _Noreturn _Alignas _Alignof alignas alignof]]
local c_types = set [[void bool char short int long float double signed unsigned size_t ssize_t
  uintptr_t intptr_t int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t va_list FILE]]

local function c_class(w)
  if c_keywords[w] then return "keyword" end
  if c_types[w] then return "type" end
  return "name"
end

local c = block_comment + line_comment
  + token("preprocessor", P "#" * blank ^ 0 * letter ^ 1)
    * (space * token("string", P "<" * (1 - S "<>\n") ^ 1 * ">")) ^ -1
  + quoted '"' + quoted "'" + number + word(letter * alnum ^ 0, c_class) + use + space + any

-- RISC-V assembly ------------------------------------------------------------

local asm_word = (letter + S ".$") * (alnum + S ".$") ^ 0

local function asm_class(w)
  if w:match "^%.[%a_]" then return "preprocessor" end
  return "name"
end

local asm_line = lpeg.Cmt(true, function(subject, i)
  return i == 1 or subject:sub(i - 1, i - 1) == "\n"
end)

-- At the start of a line: labels, then the mnemonic or directive.
local asm_label = token("label", (asm_word + digit ^ 1) * #P ":")
local asm_mnemonic = word(asm_word, function(w) return w:match "^%." and "preprocessor" or "keyword" end)
local asm_start = asm_line * token("", blank ^ 0)
  * (asm_label * token("", P ":" * blank ^ 0) * asm_mnemonic ^ -1 + asm_mnemonic)
local asm = asm_start + block_comment + line_comment
  + token("preprocessor", P "#" * blank ^ 0
      * (P "include" + "define" + "ifdef" + "ifndef" + "if" + "else" + "endif" + "undef") * -alnum)
  + hash_comment + quoted '"' + quoted "'"
  + token("number", digit ^ 1 * S "bf" * -alnum) + number
  + token("preprocessor", P "%" * letter ^ 1)
  + word(asm_word, asm_class) + use + space + any

-- Linker scripts, makefiles, shell, Python ------------------------------------

local ld_keywords = set [[OUTPUT_ARCH OUTPUT_FORMAT ENTRY SECTIONS MEMORY PHDRS PROVIDE HIDDEN KEEP
  ALIGN SIZEOF ADDR LOADADDR ORIGIN LENGTH ASSERT AT SORT NOLOAD PROVIDE_HIDDEN DISCARD INCLUDE BYTE FILL]]
local ld = block_comment + quoted '"' + number
  + word((letter + S ".$") * (alnum + S ".$*") ^ 0,
      function(w) return ld_keywords[w] and "keyword" or w:match "^%." and "" or "name" end)
  + use + space + any

local make_keywords = set "include ifeq ifneq ifdef ifndef else endif define endef export override"
local make = hash_comment + quoted '"' + quoted "'"
  + token("type", P "$" * (P "(" * (1 - S "()\n") ^ 0 * ")" + S "@<^*?$"))
  + word(letter * (alnum + S ".-") ^ 0, function(w) return make_keywords[w] and "keyword" or "" end)
  + use + space + any

local sh_keywords = set "if then else elif fi for in do done while case esac function return export set cd"
local sh = hash_comment + quoted '"' + quoted "'"
  + token("type", P "$" * (P "{" * (1 - S "}\n") ^ 0 * "}" + alnum ^ 1 + S "@#?!*$"))
  + word((letter + S "-") * (alnum + S ".-/") ^ 0, function(w) return sh_keywords[w] and "keyword" or "" end)
  + use + space + any

local py_keywords = set [[and as assert break class continue def del elif else except finally for from
  global if import in is lambda None not or pass raise return True False try while with yield]]
local python = hash_comment
  + token("string", P '"""' * (1 - P '"""') ^ 0 * P '"""' ^ -1) + quoted '"' + quoted "'" + number
  + word(letter * alnum ^ 0, function(w) return py_keywords[w] and "keyword" or "" end)
  + use + space + any

local text = use + token("", (1 - use - eol) ^ 1) + token("", eol)

-- What the user types, at the host's prompt and at the guest's.
local prompt = P "$ " + P "rvos> " + P "(gdb) "
local console = token("prompt", prompt) * token("typed", (1 - eol) ^ 0) * token("", eol) ^ -1
  + token("", (1 - eol) ^ 1 * eol ^ -1) + token("", eol)

local grammars = {
  c = c, asm = asm, ld = ld, make = make, sh = sh, bash = sh, python = python,
  text = text, console = console,
}
for name, token_of in pairs(grammars) do
  grammars[name] = Ct(token_of ^ 0)
end

-- Tokens, cut at line ends, neighbours of a class joined.
local function lines_of(tokens)
  local lines, line = {}, {}
  local function add(class, part)
    local last = line[#line]
    if part == "" then return end
    if last and last[1] == class and class ~= "name" and class ~= "use" then
      last[2] = last[2] .. part
    else
      line[#line + 1] = { class, part }
    end
  end
  for _, tok in ipairs(tokens) do
    local class, body = tok[1], tok[2]
    local first = true
    for part in (body .. "\n"):gmatch "([^\n]*)\n" do
      if not first then
        lines[#lines + 1] = line
        line = {}
      end
      first = false
      add(class, part)
    end
  end
  lines[#lines + 1] = line
  return lines
end

local function columns(code)
  local widest = 1
  for line in (code .. "\n"):gmatch "([^\n]*)\n" do
    widest = math.max(widest, utf8.len(line) or #line)
  end
  return widest
end

-- Tabs to the columns of eight that assembly and make use.
local function untab(code)
  return (code:gsub("[^\n]+", function(line)
    while line:find("\t", 1, true) do
      line = line:gsub("^([^\t]*)\t", function(head)
        return head .. (" "):rep(8 - (utf8.len(head) or #head) % 8)
      end, 1)
    end
    return line
  end))
end

return {
  columns = columns,
  untab = untab,
  lex = function(code, language)
    local grammar = grammars[language] or grammars.text
    return lines_of(lpeg.match(grammar, code))
  end,
}
