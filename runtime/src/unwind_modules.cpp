#include "unwind_modules.hpp"

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

namespace creel::detail {
namespace {

constexpr std::string_view kVdsoName = "linux-vdso.so.1";
// A library with more debugging information than this would make the first dump wait for seconds.
constexpr std::uint64_t kLargestDebugInfo = 512ULL << 20;

std::string build_id_in_memory(const dl_phdr_info& info) {
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info.dlpi_phdr[i];
    if (segment.p_type != PT_NOTE) continue;
    const char* note = reinterpret_cast<const char*>(info.dlpi_addr + segment.p_vaddr);
    const char* end = note + segment.p_memsz;
    while (note + sizeof(ElfW(Nhdr)) <= end) {
      ElfW(Nhdr) header;
      std::memcpy(&header, note, sizeof header);
      const char* name = note + sizeof header;
      const char* content = name + ((header.n_namesz + 3U) & ~3U);
      const char* next = content + ((header.n_descsz + 3U) & ~3U);
      if (next > end) break;
      if (header.n_type == NT_GNU_BUILD_ID && header.n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0) {
        return {content, header.n_descsz};
      }
      note = next;
    }
  }
  return {};
}

bool has_large_debug_info(Elf* elf) {
  std::size_t names = 0;
  if (elf_getshdrstrndx(elf, &names) != 0) return false;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr) continue;
    const char* name = elf_strptr(elf, names, header.sh_name);
    if (name != nullptr && std::strcmp(name, ".debug_info") == 0) return header.sh_size > kLargestDebugInfo;
  }
  return false;
}

}  // namespace

LoadedObject::LoadedObject(std::string path, std::uintptr_t bias, std::string build_id)
    : path_(std::move(path)), bias_(bias), build_id_(std::move(build_id)) {}

LoadedObject::~LoadedObject() {
  if (dwarf_ != nullptr) dwarf_end(dwarf_);
  if (cfi_ != nullptr) dwarf_cfi_end(cfi_);
  if (elf_ != nullptr) elf_end(elf_);
}

std::string_view LoadedObject::name() const noexcept {
  const std::string_view path = path_;
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

void LoadedObject::open() {
  opened_ = true;
  elf_version(EV_CURRENT);
  if (path_ == kVdsoName) {
    // The kernel's own object has no file, but its image in memory is a whole one.
    char* image = reinterpret_cast<char*>(::getauxval(AT_SYSINFO_EHDR));
    if (image == nullptr) return;
    ElfW(Ehdr) header;
    std::memcpy(&header, image, sizeof header);
    elf_ = elf_memory(image, header.e_shoff + std::size_t{header.e_shnum} * header.e_shentsize);
    return;
  }
  fd_.reset(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd_) return;
  elf_ = elf_begin(fd_.get(), ELF_C_READ_MMAP_PRIVATE, nullptr);
  if (elf_ == nullptr || build_id_.empty()) return;
  const void* id = nullptr;
  const ssize_t length = dwelf_elf_gnu_build_id(elf_, &id);
  if (length >= 0 &&
      std::string_view(static_cast<const char*>(id), static_cast<std::size_t>(length)) == build_id_) {
    return;
  }
  elf_end(elf_);  // the file was replaced since it was loaded: better no symbols than wrong ones
  elf_ = nullptr;
}

Elf* LoadedObject::elf() {
  if (!opened_) open();
  return elf_;
}

Dwarf_CFI* LoadedObject::cfi() {
  if (!cfi_tried_) {
    cfi_tried_ = true;
    if (elf() != nullptr) cfi_ = dwarf_getcfi_elf(elf_);
  }
  return cfi_;
}

Dwarf* LoadedObject::dwarf() {
  if (!dwarf_tried_) {
    dwarf_tried_ = true;
    if (elf() != nullptr && !has_large_debug_info(elf_))
      dwarf_ = dwarf_begin_elf(elf_, DWARF_C_READ, nullptr);
  }
  return dwarf_;
}

struct LoadedObjects::Scan {
  LoadedObjects* self;
  std::vector<std::unique_ptr<LoadedObject>> before;
  bool started = false;

  static int visit(dl_phdr_info* info, std::size_t, void* argument) {
    Scan& scan = *static_cast<Scan*>(argument);
    LoadedObjects& self = *scan.self;
    if (!scan.started) {
      if (self.adds_ == info->dlpi_adds && self.subs_ == info->dlpi_subs) return 1;
      scan.started = true;
      self.adds_ = info->dlpi_adds;
      self.subs_ = info->dlpi_subs;
      scan.before.swap(self.objects_);
      self.ranges_.clear();
    }
    scan.add(*info);
    return 0;
  }

  void add(const dl_phdr_info& info) {
    std::string path = info.dlpi_name;
    if (path.empty()) path = "/proc/self/exe";
    std::string build_id = build_id_in_memory(info);
    const auto old = std::find_if(before.begin(), before.end(), [&](const auto& object) {
      return object != nullptr && object->bias() == info.dlpi_addr && object->path() == path &&
             object->build_id() == build_id;
    });
    std::unique_ptr<LoadedObject> object =
        old != before.end()
            ? std::move(*old)
            : std::make_unique<LoadedObject>(std::move(path), info.dlpi_addr, std::move(build_id));
    for (int i = 0; i < info.dlpi_phnum; ++i) {
      const ElfW(Phdr)& segment = info.dlpi_phdr[i];
      if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
      const std::uintptr_t low = info.dlpi_addr + segment.p_vaddr;
      self->ranges_.push_back({low, low + segment.p_memsz, object.get()});
    }
    self->objects_.push_back(std::move(object));
  }
};

bool LoadedObjects::refresh() {
  Scan scan{this, {}};
  ::dl_iterate_phdr(&Scan::visit, &scan);
  if (!scan.started) return false;
  std::sort(ranges_.begin(), ranges_.end(),
            [](const CodeRange& a, const CodeRange& b) { return a.low < b.low; });
  return std::any_of(scan.before.begin(), scan.before.end(),
                     [](const auto& object) { return object != nullptr; });
}

LoadedObject* LoadedObjects::find(std::uintptr_t address) noexcept {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), address,
                                      [](std::uintptr_t a, const CodeRange& range) { return a < range.low; });
  if (after == ranges_.begin()) return nullptr;
  const CodeRange& range = *std::prev(after);
  return address < range.high ? range.object : nullptr;
}

}  // namespace creel::detail
