/* Replaces the words of a list: `text` [batch] to `redacted` [batch].
 *
 * `plugin_init` runs once for a configuration; every request then starts from the memory that it left.
 * Words are ASCII letters, digits, `_` and everything beyond ASCII; case is ignored within ASCII. */
#include "aimass.h"

#define MASK_BYTES_MAX 16

static aimass_texts words;

static bool is_word(char c) {
  return c < 0 || c == '_' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 32) : c; }

static bool is_listed(aimass_text word) {
  for (size_t i = 0; i < words.len; i++) {
    if (words.items[i].len != word.len) continue;
    size_t same = 0;
    while (same < word.len && lower(word.data[same]) == lower(words.items[i].data[same])) same++;
    if (same == word.len) return true;
  }
  return false;
}

/* End of the run of word characters, or of other characters, that begins at `start`. */
static size_t run_end(aimass_text text, size_t start) {
  size_t end = start;
  while (end < text.len && is_word(text.data[end]) == is_word(text.data[start])) end++;
  return end;
}

/* The text into `out`, or only its length if `out` is NULL. */
static size_t redact_into(char *out, aimass_text text, aimass_text mask) {
  size_t len = 0;
  for (size_t start = 0, end; start < text.len; start = end) {
    end = run_end(text, start);
    aimass_text part = {text.data + start, end - start};
    if (is_word(part.data[0]) && is_listed(part)) part = mask;
    if (out != NULL) __builtin_memcpy(out + len, part.data, part.len);
    len += part.len;
  }
  return len;
}

static aimass_text redact(aimass_text text, aimass_text mask) {
  size_t len = redact_into(NULL, text, mask);
  char *out = aimass_alloc(len);
  redact_into(out, text, mask);
  return (aimass_text){out, len};
}

void plugin_init(void) { words = aimass_json_strings(aimass_config(), AIMASS_TEXT("words")); }

void plugin_describe(aimass_signature *signature) {
  aimass_dim dims[] = {{.class = AIMASS_DIM_BATCH}};
  aimass_input(signature, AIMASS_TEXT("text"), AIMASS_BYTES, dims, 1);
  aimass_output(signature, AIMASS_TEXT("redacted"), AIMASS_BYTES, dims, 1);
}

static bool mask_of(const aimass_parameters *parameters, aimass_text *mask, aimass_error *error) {
  const aimass_parameter *given = aimass_parameter_of(parameters, AIMASS_TEXT("mask"));
  *mask = given == NULL ? AIMASS_TEXT("***") : given->text;
  bool is_text = given == NULL || given->class == AIMASS_PARAMETER_TEXT;
  if (is_text && mask->len >= 1 && mask->len <= MASK_BYTES_MAX) return true;
  return aimass_fail(error, AIMASS_INPUT, AIMASS_TEXT("parameter"),
                     AIMASS_TEXT("mask: expected a text of 1 to 16 bytes"));
}

bool plugin_process(const aimass_tensors *inputs, const aimass_parameters *parameters,
                    aimass_tensors *outputs, aimass_error *error) {
  aimass_tensor text, redacted;
  aimass_text mask;
  aimass_texts texts;
  if (!mask_of(parameters, &mask, error)) return false;
  if (!aimass_get(inputs, AIMASS_TEXT("text"), &text, error)) return false;
  if (!aimass_tensor_texts(text, &texts, error)) return false;
  for (size_t i = 0; i < texts.len; i++) {
    if (aimass_utf8_valid(texts.items[i]) != texts.items[i].len) {
      return aimass_fail(error, AIMASS_INPUT, AIMASS_TEXT("utf-8"), AIMASS_TEXT("text: expected UTF-8"));
    }
    texts.items[i] = redact(texts.items[i], mask);
  }
  uint64_t shape[8];
  size_t rank = aimass_tensor_shape(text, shape);
  if (!aimass_tensor_create_texts(shape, rank, texts, &redacted, error)) return false;
  aimass_put(outputs, AIMASS_TEXT("redacted"), redacted);
  return true;
}
