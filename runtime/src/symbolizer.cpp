#include "symbolizer.hpp"

#include "frame_name.hpp"

#include <dwarf.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>

namespace creel::detail {
namespace {

struct Section {
  Elf_Data* data = nullptr;
  GElf_Shdr header{};
};

std::optional<Section> find_section(Elf* elf, GElf_Word type) {
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    Section found;
    if (gelf_getshdr(section, &found.header) == nullptr || found.header.sh_type != type) continue;
    found.data = elf_getdata(section, nullptr);
    if (found.data != nullptr && found.data->d_buf != nullptr) return found;
  }
  return std::nullopt;
}

std::string hex(std::uintptr_t value) {
  std::array<char, 20> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value, 16).ptr;
  return "0x" + std::string(text.data(), end);
}

std::string_view file_name(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

// The JVM's shape, `name(file:line)`, so that whatever reads its dumps reads ours.
std::string frame_text(const StackFrame& frame) {
  std::string text = frame.function.empty() ? "<unknown>" : frame.function;
  text += '(';
  if (!frame.file.empty()) {
    text.append(file_name(frame.file)).append(":").append(std::to_string(frame.line));
  } else if (!frame.module.empty()) {
    text.append(frame.module).append("+").append(hex(frame.offset));
  } else {
    text.append(hex(frame.address));
  }
  return text += ')';
}

std::optional<Dwarf_Die> referred(Dwarf_Die& die, unsigned name) {
  Dwarf_Attribute attribute;
  Dwarf_Die other;
  if (dwarf_attr(&die, name, &attribute) == nullptr || dwarf_formref_die(&attribute, &other) == nullptr)
    return std::nullopt;
  return other;
}

// Where a function is declared, which is what its scopes are found by: not its inlined body, and for a
// member not its definition outside of the class.
Dwarf_Die declaration_of(Dwarf_Die function) {
  if (const auto origin = referred(function, DW_AT_abstract_origin)) function = *origin;
  if (const auto declared = referred(function, DW_AT_specification)) function = *declared;
  return function;
}

bool is_lambda(Dwarf_Die& type) {
  const char* name = dwarf_diename(&type);
  return name == nullptr || std::string_view(name).starts_with("<lambda");
}

// The linkage name as frames show it; empty if the compiler has given none: code that only one file sees,
// functions of lambdas and templates over these among it.
std::string linkage_name(Dwarf_Die* function) {
  Dwarf_Attribute attribute;
  for (const unsigned name : {unsigned{DW_AT_linkage_name}, unsigned{DW_AT_MIPS_linkage_name}}) {
    if (dwarf_attr_integrate(function, name, &attribute) != nullptr)
      return frame_name(dwarf_formstring(&attribute));
  }
  return {};
}

// `name` behind the names of the namespaces, classes and functions around `declaration`.
std::string qualified(Dwarf_Die& declaration, std::string name) {
  Dwarf_Die* scopes = nullptr;
  const int count = dwarf_getscopes_die(&declaration, &scopes);
  for (int i = 1; i < count; ++i) {
    Dwarf_Die& scope = scopes[i];
    const char* const own = dwarf_diename(&scope);
    switch (dwarf_tag(&scope)) {
      case DW_TAG_namespace:
        name = (own != nullptr ? std::string(own) : std::string("{anonymous}")) + "::" + name;
        continue;
      case DW_TAG_class_type:
      case DW_TAG_structure_type:
      case DW_TAG_union_type:
        if (!is_lambda(scope)) {
          name = shorten_name(own) + "::" + name;
        } else if (i == 1) {
          name = "{lambda}";  // its operator()
        }
        continue;
      case DW_TAG_subprogram:
      case DW_TAG_inlined_subroutine:
        if (std::string outer = linkage_name(&scope); !outer.empty()) {
          name = outer + "::" + name;
          i = count;  // it is qualified itself
        } else if (Dwarf_Die declared = declaration_of(scope); dwarf_diename(&declared) != nullptr) {
          name = qualified(declared, shorten_name(dwarf_diename(&declared))) + "::" + name;
          i = count;
        }
        continue;
      default:
        continue;
    }
  }
  std::free(scopes);
  return name;
}

std::string die_name(Dwarf_Die* die) {
  if (std::string name = linkage_name(die); !name.empty()) return name;
  Dwarf_Attribute attribute;
  if (dwarf_attr_integrate(die, DW_AT_name, &attribute) == nullptr) return {};
  Dwarf_Die declaration = declaration_of(*die);
  const std::string name = qualified(declaration, shorten_name(dwarf_formstring(&attribute)));
  return name == "operator()" ? "{lambda}" : name;  // -g1 keeps nothing of what encloses it
}

// Names that are the implementation's by the language's rules, __x and _X; `name` has its template arguments
// cut off.
bool is_reserved(std::string_view name) {
  for (std::size_t at = name.find('_'); at != std::string_view::npos; at = name.find('_', at + 1)) {
    const bool starts = at == 0 || name[at - 1] == ':';
    if (starts && at + 1 < name.size() &&
        (name[at + 1] == '_' || std::isupper(static_cast<unsigned char>(name[at + 1])) != 0))
      return true;
  }
  return false;
}

// The plumbing under std::function and std::thread, inlined level by level, and functions that say of
// themselves that they are no frame of their own.
bool is_plumbing(Dwarf_Die* die, std::string_view name) {
  if (name.ends_with("{lambda}")) return false;  // artificial to the compiler, but the user's code
  if (dwarf_hasattr_integrate(die, DW_AT_artificial) != 0) return true;
  std::string plain;
  int depth = 0;
  for (const char c : name) {
    if (c == '<') ++depth;
    if (depth == 0) plain.push_back(c);
    if (c == '>') --depth;
  }
  return is_reserved(plain);
}

// The place in the caller at which an inlined function stands.
void set_call_site(Dwarf_Die* unit, Dwarf_Die* inlined, StackFrame& caller) {
  Dwarf_Attribute attribute;
  Dwarf_Word file = 0, line = 0;
  if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_file, &attribute), &file) != 0) return;
  if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_line, &attribute), &line) != 0) return;
  Dwarf_Files* files = nullptr;
  std::size_t count = 0;
  if (dwarf_getsrcfiles(unit, &files, &count) != 0 || file >= count) return;
  if (const char* path = dwarf_filesrc(files, file, nullptr, nullptr)) {
    caller.file = path;
    caller.line = static_cast<int>(line);
  }
}

// The functions whose code the address is in, innermost first, ending with the one that has a symbol.
std::vector<Dwarf_Die> inline_chain(Dwarf_Die* unit, std::uint64_t address) {
  const auto is_function = [](Dwarf_Die& die) {
    const int tag = dwarf_tag(&die);
    return tag == DW_TAG_inlined_subroutine || tag == DW_TAG_subprogram;
  };
  std::vector<Dwarf_Die> chain;
  Dwarf_Die* scopes = nullptr;
  int count = dwarf_getscopes(unit, address, &scopes);
  Dwarf_Die* end = scopes + std::max(count, 0);
  Dwarf_Die* innermost = std::find_if(scopes, end, is_function);
  if (innermost != end) {
    // dwarf_getscopes goes on with the scopes around the inlined function's definition; those around its
    // place in the code are wanted.
    Dwarf_Die* around = nullptr;
    count = dwarf_getscopes_die(innermost, &around);
    for (int i = 0; i < count; ++i) {
      if (!is_function(around[i])) continue;
      chain.push_back(around[i]);
      if (dwarf_tag(&around[i]) == DW_TAG_subprogram) break;
    }
    std::free(around);
  }
  std::free(scopes);
  return chain;
}

}  // namespace

Symbolizer::Index& Symbolizer::index(LoadedObject& object) {
  const auto [entry, is_new] = indexes_.try_emplace(&object);
  Index& index = entry->second;
  if (!is_new || object.elf() == nullptr) return index;
  std::optional<Section> table = find_section(object.elf(), SHT_SYMTAB);
  if (!table) table = find_section(object.elf(), SHT_DYNSYM);
  if (!table) return index;
  Elf_Scn* strings = elf_getscn(object.elf(), table->header.sh_link);
  const Elf_Data* names = strings != nullptr ? elf_getdata(strings, nullptr) : nullptr;
  if (names == nullptr || names->d_buf == nullptr) return index;
  index.names = static_cast<const char*>(names->d_buf);
  index.names_size = names->d_size;

  const char* symbols = static_cast<const char*>(table->data->d_buf);
  const std::size_t count = table->data->d_size / sizeof(Elf64_Sym);
  index.symbols.reserve(count / 2);
  for (std::size_t i = 0; i < count; ++i) {
    Elf64_Sym symbol;
    std::memcpy(&symbol, symbols + i * sizeof symbol, sizeof symbol);
    const auto type = ELF64_ST_TYPE(symbol.st_info);
    if ((type != STT_FUNC && type != STT_GNU_IFUNC) || symbol.st_shndx == SHN_UNDEF) continue;
    index.symbols.push_back({symbol.st_value, static_cast<std::uint32_t>(symbol.st_size), symbol.st_name});
  }
  std::sort(index.symbols.begin(), index.symbols.end(), [](const Symbol& a, const Symbol& b) {
    return a.address != b.address ? a.address < b.address : a.size < b.size;
  });
  return index;
}

const char* Symbolizer::symbol_at(LoadedObject& object, std::uint64_t address) {
  const Index& symbols = index(object);
  auto after = std::upper_bound(symbols.symbols.begin(), symbols.symbols.end(), address,
                                [](std::uint64_t a, const Symbol& symbol) { return a < symbol.address; });
  if (after == symbols.symbols.begin()) return nullptr;
  const Symbol& symbol = *std::prev(after);
  // Without a size (assembly) a symbol reaches to the next one; with one, what lies behind it has lost its
  // name.
  if (symbol.size != 0 && address >= symbol.address + symbol.size) return nullptr;
  return symbol.name < symbols.names_size ? symbols.names + symbol.name : nullptr;
}

bool Symbolizer::unit_at(LoadedObject& object, std::uint64_t address, Dwarf_Die& unit) {
  Dwarf* dwarf = object.dwarf();
  if (dwarf == nullptr) return false;
  Dwarf_Aranges* aranges = nullptr;
  std::size_t count = 0;
  if (dwarf_getaranges(dwarf, &aranges, &count) == 0 && count > 0) {
    return dwarf_addrdie(dwarf, address, &unit) != nullptr;
  }
  Index& units = index(object);  // clang writes no .debug_aranges
  if (!units.units_built) {
    units.units_built = true;
    Dwarf_Off offset = 0, next = 0;
    for (std::size_t header = 0; dwarf_nextcu(dwarf, offset, &next, &header, nullptr, nullptr, nullptr) == 0;
         offset = next) {
      Dwarf_Die die;
      if (dwarf_offdie(dwarf, offset + header, &die) == nullptr) continue;
      Dwarf_Addr base = 0, low = 0, high = 0;
      for (std::ptrdiff_t at = 0; (at = dwarf_ranges(&die, at, &base, &low, &high)) > 0;) {
        units.units.push_back({low, high, offset + header});
      }
    }
    std::sort(units.units.begin(), units.units.end(),
              [](const Unit& a, const Unit& b) { return a.low < b.low; });
  }
  const auto after = std::upper_bound(units.units.begin(), units.units.end(), address,
                                      [](std::uint64_t a, const Unit& range) { return a < range.low; });
  if (after == units.units.begin() || address >= std::prev(after)->high) return false;
  return dwarf_offdie(dwarf, std::prev(after)->die, &unit) != nullptr;
}

void Symbolizer::add_lines(LoadedObject& object, std::uint64_t address, std::vector<StackFrame>& frames) {
  Dwarf_Die unit;
  if (!unit_at(object, address, unit)) return;
  StackFrame outermost = std::move(frames.back());
  frames.clear();
  StackFrame place;
  if (Dwarf_Line* line = dwarf_getsrc_die(&unit, address)) {
    int number = 0;
    if (const char* path = dwarf_linesrc(line, nullptr, nullptr);
        path != nullptr && dwarf_lineno(line, &number) == 0) {
      place.file = path;
      place.line = number;
    }
  }
  for (Dwarf_Die& function : inline_chain(&unit, address)) {
    if (dwarf_tag(&function) == DW_TAG_subprogram) {
      if (outermost.function.empty()) outermost.function = die_name(&function);
      break;
    }
    std::string name = die_name(&function);
    if (!is_plumbing(&function, name)) {
      StackFrame& frame = frames.emplace_back(outermost);
      frame.function = std::move(name);
      frame.file = std::move(place.file);
      frame.line = place.line;
      frame.inlined = true;
    }
    place = StackFrame{};
    set_call_site(&unit, &function, place);
  }
  outermost.file = std::move(place.file);
  outermost.line = place.line;
  frames.push_back(std::move(outermost));
}

const std::vector<StackFrame>& Symbolizer::resolve(CodeEntry& entry) {
  if (entry.frames != nullptr) return *entry.frames;
  std::vector<StackFrame>& frames = interned_.emplace_back(1);
  StackFrame& frame = frames.front();
  frame.address = entry.lookup;
  if (entry.object != nullptr) {
    LoadedObject& object = *entry.object;
    const std::uint64_t address = entry.lookup - object.bias();
    frame.module = object.path() == "/proc/self/exe" ? program_invocation_short_name : object.name();
    frame.offset = address;
    frame.function = frame_name(symbol_at(object, address));
    add_lines(object, address, frames);
  }
  for (StackFrame& each : frames) each.text = frame_text(each);
  entry.frames = &frames;
  return frames;
}

}  // namespace creel::detail
