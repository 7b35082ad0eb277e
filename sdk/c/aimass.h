/* The SDK of AI Mass for C plugins of the world `processor`.
 *
 * A plugin defines `plugin_init`, `plugin_describe` and `plugin_process`; the rest is here. There is no libc.
 * Memory comes from `aimass_alloc` and is never given back, handles are not closed: each call runs in a fresh
 * instance, with which both end. What `plugin_init` allocates is there at the start of every call.
 * When the limit of plugin.toml is reached, the call traps and the host says so. */
#ifndef AIMASS_H
#define AIMASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that are not terminated; UTF-8 where they are text. */
typedef struct {
  const char *data;
  size_t len;
} aimass_text;

/* An `aimass_text` of a string literal. */
#define AIMASS_TEXT(literal) ((aimass_text){(literal), sizeof(literal) - 1})

/* Element types, as the contract numbers them. */
typedef enum {
  AIMASS_BOOL = 0, AIMASS_I4, AIMASS_U4, AIMASS_I8, AIMASS_U8, AIMASS_I16, AIMASS_U16, AIMASS_I32,
  AIMASS_U32, AIMASS_I64, AIMASS_U64, AIMASS_F8_E4M3, AIMASS_F8_E5M2, AIMASS_F8_E4M3_FNUZ,
  AIMASS_F8_E5M2_FNUZ, AIMASS_BF16, AIMASS_F16, AIMASS_F32, AIMASS_F64, AIMASS_BYTES,
  AIMASS_ANY = 255 /* only in a signature: any element type */
} aimass_dtype;

/* Who has to act on an error; only INPUT reaches the client as its own fault (HTTP 400). */
typedef enum {
  AIMASS_INPUT = 0, AIMASS_NOT_FOUND, AIMASS_LIMIT, AIMASS_UNSUPPORTED, AIMASS_FORBIDDEN,
  AIMASS_CANCELLED, AIMASS_DEADLINE, AIMASS_UNAVAILABLE, AIMASS_INTERNAL
} aimass_family;

/* What went wrong: a stable code in kebab-case (at most 64 bytes) and a message for a person. */
typedef struct {
  aimass_family family;
  aimass_text code;
  aimass_text message;
} aimass_error;

/* A handle of an immutable tensor in host memory. */
typedef int32_t aimass_tensor;

/* A tensor with its name. */
typedef struct {
  aimass_text name;
  aimass_tensor value;
} aimass_named_tensor;

/* Named tensors: inputs of a call, or its outputs. */
typedef struct {
  aimass_named_tensor *items;
  size_t len;
} aimass_tensors;

/* The class of a dimension decides what may be batched. */
typedef enum { AIMASS_DIM_FIXED = 0, AIMASS_DIM_BATCH, AIMASS_DIM_RAGGED, AIMASS_DIM_DYNAMIC } aimass_dim_class;

/* A dimension: `extent` if it is fixed; `name` of the offsets if ragged, or of a dynamic extent. */
typedef struct {
  uint8_t class;
  union {
    uint64_t extent;
    aimass_text name;
  };
} aimass_dim;

/* The class of a parameter's value. */
typedef enum {
  AIMASS_PARAMETER_BOOLEAN = 0, AIMASS_PARAMETER_INTEGER, AIMASS_PARAMETER_FLOAT,
  AIMASS_PARAMETER_TEXT, AIMASS_PARAMETER_INTEGERS
} aimass_parameter_class;

/* A parameter of a request. */
typedef struct {
  aimass_text name;
  uint8_t class;
  union {
    bool boolean;
    int64_t integer;
    double number;
    aimass_text text;
  };
} aimass_parameter;

/* All parameters of a request. */
typedef struct {
  const aimass_parameter *items;
  size_t len;
} aimass_parameters;

/* Strings one after the other. */
typedef struct {
  aimass_text *items;
  size_t len;
} aimass_texts;

/* Inputs and outputs of a plugin, filled by `aimass_input` and `aimass_output`. */
typedef struct aimass_signature aimass_signature;

/* ---- what a plugin defines ---- */

/* Runs once for a configuration. Calls `aimass_reject` if it cannot serve with it. */
void plugin_init(void);
/* Adds inputs and outputs, as configured. */
void plugin_describe(aimass_signature *signature);
/* Answers one request into `outputs`; false, with `error` filled, if it cannot. */
bool plugin_process(const aimass_tensors *inputs, const aimass_parameters *parameters,
                    aimass_tensors *outputs, aimass_error *error);

/* ---- memory and text ---- */

/* `bytes` bytes, zeroed, aligned to 16. Traps when the memory limit is reached. */
void *aimass_alloc(size_t bytes);
/* Whether two texts hold the same bytes. */
bool aimass_equal(aimass_text a, aimass_text b);
/* Offset of the first byte that is not UTF-8, or `text.len`. */
size_t aimass_utf8_valid(aimass_text text);
/* The texts joined, at most 8. */
aimass_text aimass_join(const aimass_text *parts, size_t count);
/* An error in one expression: `return aimass_fail(error, AIMASS_INPUT, ...)`. Answers false. */
bool aimass_fail(aimass_error *error, aimass_family family, aimass_text code, aimass_text message);

/* ---- configuration, needs the capability `config` ---- */

/* The configuration as JSON, which the host has checked against the schema. */
aimass_text aimass_config(void);
/* The strings of the array `key` of a JSON object; escapes are resolved. None if it is not there. */
aimass_texts aimass_json_strings(aimass_text json, aimass_text key);
/* Says why the plugin cannot start. */
void aimass_reject(const aimass_error *error);

/* ---- signature ---- */

/* Adds an input. `dims` are copied; NULL accepts any shape. */
void aimass_input(aimass_signature *signature, aimass_text name, aimass_dtype dtype,
                  const aimass_dim *dims, size_t rank);
/* Adds an output, as `aimass_input`. */
void aimass_output(aimass_signature *signature, aimass_text name, aimass_dtype dtype,
                   const aimass_dim *dims, size_t rank);

/* ---- calls ---- */

/* The input of this name into `found`; false and `input/missing-input` if it did not come. */
bool aimass_get(const aimass_tensors *inputs, aimass_text name, aimass_tensor *found, aimass_error *error);
/* The parameter of this name, or NULL. */
const aimass_parameter *aimass_parameter_of(const aimass_parameters *parameters, aimass_text name);
/* Adds an output; its handle goes to the host. At most 64. */
void aimass_put(aimass_tensors *outputs, aimass_text name, aimass_tensor value);

/* ---- tensors, need the capability `tensor` ---- */

/* Element type. */
aimass_dtype aimass_tensor_dtype(aimass_tensor tensor);
/* Extents, outermost first, into 8 places; answers how many there are. */
size_t aimass_tensor_shape(aimass_tensor tensor, uint64_t shape[8]);
/* All bytes of the elements, row-major and little-endian: one copy. Errors: `limit/read-bytes`. */
bool aimass_tensor_read(aimass_tensor tensor, aimass_text *bytes, aimass_error *error);
/* As `aimass_tensor_read`, for the 32-bit floats of a tensor. Errors: `input/dtype`. */
bool aimass_tensor_f32(aimass_tensor tensor, const float **elements, size_t *count, aimass_error *error);
/* The strings of a BYTES tensor. Errors: `input/dtype`. */
bool aimass_tensor_texts(aimass_tensor tensor, aimass_texts *texts, aimass_error *error);
/* A tensor of these bytes. Errors: `input/byte-count`, `input/shape`, `limit/host-bytes`. */
bool aimass_tensor_create(aimass_dtype dtype, const uint64_t *shape, size_t rank, aimass_text bytes,
                          aimass_tensor *made, aimass_error *error);
/* A BYTES tensor of these strings. Errors: `input/shape`, `limit/host-bytes`. */
bool aimass_tensor_create_texts(const uint64_t *shape, size_t rank, aimass_texts texts,
                                aimass_tensor *made, aimass_error *error);
/* Runs one op of the host with one output on these tensors, without further attributes. */
bool aimass_run_op(aimass_text op, const aimass_tensor *inputs, size_t count, aimass_tensor *made,
                   aimass_error *error);

#endif
