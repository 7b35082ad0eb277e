/* Canonical ABI of the world `processor` around the functions of a plugin; see aimass.h. */
#include "aimass.h"

#define IMPORT(interface, function) \
  __attribute__((import_module("aimass:plugin/" interface "@0.1.0"), import_name(function)))
#define EXPORT(function) __attribute__((export_name(function)))
#define PAGE_BYTES 65536u
#define OUTPUTS_MAX 64

/* Layouts of the contract in memory. */
typedef struct { uint8_t present, dtype; } option_dtype;
typedef struct { uint8_t present; const aimass_dim *dims; size_t rank; } option_dims;
typedef struct { aimass_text name; option_dtype dtype; option_dims dims; aimass_text description; } tensor_spec;
struct aimass_signature { tensor_spec *inputs; size_t inputs_len; tensor_spec *outputs; size_t outputs_len; };
typedef struct { uint8_t family; aimass_text code, message; } wire_error;
typedef struct { uint8_t failed; union { wire_error error; aimass_tensor tensor; aimass_text list; aimass_tensors tensors; }; } wire_result;

_Static_assert(sizeof(aimass_dim) == 16 && sizeof(tensor_spec) == 32, "the contract's layout");
_Static_assert(sizeof(aimass_parameter) == 24 && sizeof(aimass_named_tensor) == 12, "the contract's layout");
_Static_assert(sizeof(wire_error) == 20 && sizeof(wire_result) == 24, "the contract's layout");

IMPORT("config", "get") void host_config_get(aimass_text *answer);
IMPORT("config", "reject") void host_config_reject(int32_t family, const char *code, size_t code_len, const char *message, size_t message_len);
IMPORT("tensor", "[static]tensor.create") void host_create(int32_t dtype, const uint64_t *shape, size_t rank, const char *data, size_t len, wire_result *answer);
IMPORT("tensor", "[static]tensor.create-strings") void host_create_strings(const uint64_t *shape, size_t rank, const void *offsets, size_t offsets_len, const char *data, size_t len, wire_result *answer);
IMPORT("tensor", "[method]tensor.dtype") int32_t host_dtype(aimass_tensor tensor);
IMPORT("tensor", "[method]tensor.shape") void host_shape(aimass_tensor tensor, aimass_text *answer);
IMPORT("tensor", "[method]tensor.byte-len") uint64_t host_byte_len(aimass_tensor tensor);
IMPORT("tensor", "[method]tensor.read") void host_read(aimass_tensor tensor, uint64_t offset, uint64_t len, wire_result *answer);
IMPORT("tensor", "[method]tensor.string-offsets") void host_string_offsets(aimass_tensor tensor, wire_result *answer);
IMPORT("tensor", "run") void host_run(const char *op, size_t op_len, const aimass_tensor *inputs, size_t inputs_len, const void *attributes, size_t attributes_len, wire_result *answer);

extern unsigned char __heap_base;
static uintptr_t heap_end = 0;

static void copy(void *to, const void *from, size_t bytes) { __builtin_memcpy(to, from, bytes); }

void *aimass_alloc(size_t bytes) {
  if (heap_end == 0) heap_end = (uintptr_t)&__heap_base;
  uintptr_t start = (heap_end + 15) & ~(uintptr_t)15;
  uintptr_t room = __builtin_wasm_memory_size(0) * PAGE_BYTES;
  if (bytes > (size_t)INT32_MAX || start + bytes < start) __builtin_trap();
  if (start + bytes > room) {
    size_t pages = (start + bytes - room + PAGE_BYTES - 1) / PAGE_BYTES;
    if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) __builtin_trap();
  }
  heap_end = start + bytes;
  return (void *)start;
}

EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t old_bytes, size_t align, size_t bytes) {
  (void)align;
  void *fresh = aimass_alloc(bytes);
  if (old != NULL) copy(fresh, old, old_bytes < bytes ? old_bytes : bytes);
  return fresh;
}

EXPORT("init") void aimass_export_init(void) { plugin_init(); }

EXPORT("describe") aimass_signature *aimass_export_describe(void) {
  aimass_signature *signature = aimass_alloc(sizeof *signature);
  signature->inputs = aimass_alloc(OUTPUTS_MAX * sizeof(tensor_spec));
  signature->outputs = aimass_alloc(OUTPUTS_MAX * sizeof(tensor_spec));
  signature->inputs_len = signature->outputs_len = 0;
  plugin_describe(signature);
  return signature;
}

EXPORT("process") wire_result *aimass_export_process(aimass_named_tensor *inputs, size_t inputs_len,
                                                     const aimass_parameter *parameters, size_t parameters_len) {
  aimass_tensors named = {inputs, inputs_len};
  aimass_parameters values = {parameters, parameters_len};
  aimass_tensors outputs = {aimass_alloc(OUTPUTS_MAX * sizeof(aimass_named_tensor)), 0};
  aimass_error error = {AIMASS_INTERNAL, AIMASS_TEXT("no-error"), AIMASS_TEXT("process failed without an error")};
  wire_result *answer = aimass_alloc(sizeof *answer);
  answer->failed = !plugin_process(&named, &values, &outputs, &error);
  if (answer->failed) answer->error = (wire_error){(uint8_t)error.family, error.code, error.message};
  else answer->tensors = outputs;
  return answer;
}

bool aimass_equal(aimass_text a, aimass_text b) {
  if (a.len != b.len) return false;
  for (size_t i = 0; i < a.len; i++) if (a.data[i] != b.data[i]) return false;
  return true;
}

aimass_text aimass_join(const aimass_text *parts, size_t count) {
  size_t len = 0;
  for (size_t i = 0; i < count; i++) len += parts[i].len;
  char *data = aimass_alloc(len);
  aimass_text joined = {data, len};
  for (size_t i = 0; i < count; i++) {
    copy(data, parts[i].data, parts[i].len);
    data += parts[i].len;
  }
  return joined;
}

/* Bytes that follow this first byte of a character; 4 if none begins so. */
static size_t followers(uint8_t first) {
  if (first < 0x80) return 0;
  if (first >= 0xC2 && first <= 0xDF) return 1;
  if (first >= 0xE0 && first <= 0xEF) return 2;
  return first >= 0xF0 && first <= 0xF4 ? 3 : 4;
}

/* Unicode 15, table 3-7: the second byte is narrower after E0, ED, F0 and F4. */
static bool second_fits(uint8_t first, uint8_t second) {
  uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  return second >= low && second <= high;
}

size_t aimass_utf8_valid(aimass_text text) {
  const uint8_t *bytes = (const uint8_t *)text.data;
  for (size_t at = 0; at < text.len;) {
    size_t more = followers(bytes[at]);
    if (more == 4 || at + more >= text.len) return at;
    if (more > 0 && !second_fits(bytes[at], bytes[at + 1])) return at;
    for (size_t i = 2; i <= more; i++) if ((bytes[at + i] & 0xC0) != 0x80) return at;
    at += more + 1;
  }
  return text.len;
}

bool aimass_fail(aimass_error *error, aimass_family family, aimass_text code, aimass_text message) {
  *error = (aimass_error){family, code, message};
  return false;
}

static bool refused(const wire_result *answer, aimass_error *error) {
  if (!answer->failed) return false;
  *error = (aimass_error){(aimass_family)answer->error.family, answer->error.code, answer->error.message};
  return true;
}

aimass_text aimass_config(void) {
  aimass_text json;
  host_config_get(&json);
  return json;
}

void aimass_reject(const aimass_error *error) {
  host_config_reject(error->family, error->code.data, error->code.len, error->message.data, error->message.len);
}

static void add(tensor_spec *specs, size_t *len, tensor_spec spec) {
  if (*len >= OUTPUTS_MAX) __builtin_trap();
  if (spec.dims.present) {
    aimass_dim *kept = aimass_alloc(spec.dims.rank * sizeof(aimass_dim));
    copy(kept, spec.dims.dims, spec.dims.rank * sizeof(aimass_dim));
    spec.dims.dims = kept;
  }
  specs[(*len)++] = spec;
}

static tensor_spec spec_of(aimass_text name, aimass_dtype dtype, const aimass_dim *dims, size_t rank) {
  option_dtype element = {dtype != AIMASS_ANY, (uint8_t)dtype};
  option_dims shape = {dims != NULL, dims, rank};
  return (tensor_spec){name, element, shape, {"", 0}};
}

void aimass_input(aimass_signature *signature, aimass_text name, aimass_dtype dtype, const aimass_dim *dims, size_t rank) {
  add(signature->inputs, &signature->inputs_len, spec_of(name, dtype, dims, rank));
}

void aimass_output(aimass_signature *signature, aimass_text name, aimass_dtype dtype, const aimass_dim *dims, size_t rank) {
  add(signature->outputs, &signature->outputs_len, spec_of(name, dtype, dims, rank));
}

bool aimass_get(const aimass_tensors *inputs, aimass_text name, aimass_tensor *found, aimass_error *error) {
  for (size_t i = 0; i < inputs->len; i++) {
    if (!aimass_equal(inputs->items[i].name, name)) continue;
    *found = inputs->items[i].value;
    return true;
  }
  aimass_text message[] = {AIMASS_TEXT("expected an input `"), name, AIMASS_TEXT("`")};
  return aimass_fail(error, AIMASS_INPUT, AIMASS_TEXT("missing-input"), aimass_join(message, 3));
}

const aimass_parameter *aimass_parameter_of(const aimass_parameters *parameters, aimass_text name) {
  for (size_t i = 0; i < parameters->len; i++) {
    if (aimass_equal(parameters->items[i].name, name)) return &parameters->items[i];
  }
  return NULL;
}

void aimass_put(aimass_tensors *outputs, aimass_text name, aimass_tensor value) {
  if (outputs->len >= OUTPUTS_MAX) __builtin_trap();
  outputs->items[outputs->len++] = (aimass_named_tensor){name, value};
}

aimass_dtype aimass_tensor_dtype(aimass_tensor tensor) { return (aimass_dtype)host_dtype(tensor); }

size_t aimass_tensor_shape(aimass_tensor tensor, uint64_t shape[8]) {
  aimass_text extents;
  host_shape(tensor, &extents);
  size_t rank = extents.len < 8 ? extents.len : 8;
  copy(shape, extents.data, rank * sizeof(uint64_t));
  return rank;
}

bool aimass_tensor_read(aimass_tensor tensor, aimass_text *bytes, aimass_error *error) {
  wire_result answer;
  host_read(tensor, 0, host_byte_len(tensor), &answer);
  if (refused(&answer, error)) return false;
  *bytes = answer.list;
  return true;
}

bool aimass_tensor_f32(aimass_tensor tensor, const float **elements, size_t *count, aimass_error *error) {
  if (aimass_tensor_dtype(tensor) != AIMASS_F32) {
    return aimass_fail(error, AIMASS_INPUT, AIMASS_TEXT("dtype"), AIMASS_TEXT("expected a tensor of f32"));
  }
  aimass_text bytes;
  if (!aimass_tensor_read(tensor, &bytes, error)) return false;
  *elements = (const float *)(const void *)bytes.data;
  *count = bytes.len / sizeof(float);
  return true;
}

bool aimass_tensor_texts(aimass_tensor tensor, aimass_texts *texts, aimass_error *error) {
  wire_result answer;
  host_string_offsets(tensor, &answer);
  if (refused(&answer, error)) return false;
  const uint32_t *offsets = (const uint32_t *)(const void *)answer.list.data;
  size_t count = answer.list.len / sizeof(uint32_t) - 1;
  aimass_text all;
  if (!aimass_tensor_read(tensor, &all, error)) return false;
  texts->items = aimass_alloc(count * sizeof(aimass_text));
  texts->len = count;
  for (size_t i = 0; i < count; i++) {
    texts->items[i] = (aimass_text){all.data + offsets[i], offsets[i + 1] - offsets[i]};
  }
  return true;
}

bool aimass_tensor_create(aimass_dtype dtype, const uint64_t *shape, size_t rank, aimass_text bytes,
                          aimass_tensor *made, aimass_error *error) {
  wire_result answer;
  host_create(dtype, shape, rank, bytes.data, bytes.len, &answer);
  if (refused(&answer, error)) return false;
  *made = answer.tensor;
  return true;
}

bool aimass_tensor_create_texts(const uint64_t *shape, size_t rank, aimass_texts texts,
                                aimass_tensor *made, aimass_error *error) {
  uint32_t *offsets = aimass_alloc((texts.len + 1) * sizeof(uint32_t));
  uint32_t end = offsets[0] = 0;
  for (size_t i = 0; i < texts.len; i++) offsets[i + 1] = end += (uint32_t)texts.items[i].len;
  char *data = aimass_alloc(end);
  for (size_t i = 0; i < texts.len; i++) copy(data + offsets[i], texts.items[i].data, texts.items[i].len);
  wire_result answer;
  host_create_strings(shape, rank, offsets, (texts.len + 1) * sizeof(uint32_t), data, end, &answer);
  if (refused(&answer, error)) return false;
  *made = answer.tensor;
  return true;
}

bool aimass_run_op(aimass_text op, const aimass_tensor *inputs, size_t count, aimass_tensor *made, aimass_error *error) {
  wire_result answer;
  host_run(op.data, op.len, inputs, count, NULL, 0, &answer);
  if (refused(&answer, error)) return false;
  if (answer.list.len != 1) {
    return aimass_fail(error, AIMASS_INTERNAL, AIMASS_TEXT("outputs"), AIMASS_TEXT("expected an op of one output"));
  }
  *made = *(const aimass_tensor *)(const void *)answer.list.data;
  return true;
}

/* ---- JSON: enough for a list of strings in an object that the host has checked ---- */

typedef struct { const char *at, *end; } cursor;

static char peek(cursor *json) {
  while (json->at < json->end && (*json->at == ' ' || *json->at == '\n' || *json->at == '\t' || *json->at == '\r')) json->at++;
  return json->at < json->end ? *json->at : 0;
}

static uint32_t hex4(const char *at) {
  uint32_t code = 0;
  for (size_t i = 0; i < 4; i++) {
    char c = at[i];
    code = code * 16 + (uint32_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
  }
  return code;
}

static char *put_utf8(char *out, uint32_t code) {
  if (code < 0x80) { *out++ = (char)code; return out; }
  if (code < 0x800) { *out++ = (char)(0xC0 | code >> 6); *out++ = (char)(0x80 | (code & 63)); return out; }
  if (code < 0x10000) *out++ = (char)(0xE0 | code >> 12);
  else { *out++ = (char)(0xF0 | code >> 18); *out++ = (char)(0x80 | (code >> 12 & 63)); }
  *out++ = (char)(0x80 | (code >> 6 & 63));
  *out++ = (char)(0x80 | (code & 63));
  return out;
}

/* One escape behind a backslash; `json` stands behind it afterwards. */
static char *put_escape(char *out, cursor *json) {
  char c = *json->at++;
  if (c != 'u' || json->end - json->at < 4) {
    *out++ = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'b' ? '\b' : c == 'f' ? '\f' : c;
    return out;
  }
  uint32_t code = hex4(json->at);
  json->at += 4;
  if (code >= 0xD800 && code < 0xDC00 && json->end - json->at >= 6 && json->at[1] == 'u') {
    code = 0x10000 + ((code - 0xD800) << 10) + (hex4(json->at + 2) - 0xDC00);
    json->at += 6;
  }
  return put_utf8(out, code);
}

/* Reads the string that `json` stands at. */
static aimass_text string(cursor *json) {
  char *start = aimass_alloc((size_t)(json->end - json->at)), *out = start;
  json->at++;
  while (json->at < json->end && *json->at != '"') {
    if (*json->at != '\\') *out++ = *json->at++;
    else if (++json->at < json->end) out = put_escape(out, json);
  }
  json->at++;
  heap_end = (uintptr_t)out; /* gives back what was reserved for the rest of the document */
  return (aimass_text){start, (size_t)(out - start)};
}

/* Steps over any value. */
static void skip(cursor *json) {
  size_t depth = 0;
  do {
    char c = peek(json);
    if (c == 0) return;
    if (c == '"') { string(json); continue; }
    if (c == '{' || c == '[') depth++;
    if (c == '}' || c == ']') depth--;
    json->at++;
    if (depth == 0) while (json->at < json->end && *json->at != ',' && *json->at != '}' && *json->at != ']') json->at++;
  } while (depth > 0);
}

static aimass_texts strings(cursor *json) {
  /* A string takes two bytes of the document at least. */
  aimass_texts found = {aimass_alloc((size_t)(json->end - json->at) / 2 * sizeof(aimass_text)), 0};
  json->at++;
  while (peek(json) == '"') {
    found.items[found.len++] = string(json);
    if (peek(json) == ',') json->at++;
  }
  return found;
}

aimass_texts aimass_json_strings(aimass_text text, aimass_text key) {
  cursor json = {text.data, text.data + text.len};
  if (peek(&json) == '{') json.at++;
  while (peek(&json) == '"') {
    aimass_text name = string(&json);
    if (peek(&json) == ':') json.at++;
    if (aimass_equal(name, key) && peek(&json) == '[') return strings(&json);
    skip(&json);
    if (peek(&json) == ',') json.at++;
  }
  return (aimass_texts){NULL, 0};
}
