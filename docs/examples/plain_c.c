/* A quantizer in C, put under test by `coreml-assay run -i command:./plain_c`.
 *
 *     cc -O2 -ffp-contract=off -o plain_c plain_c.c -lm
 *
 * It rounds float32 weights to the nearest code, with a scale for each block. The JSON it reads is
 * coreml-assay's own, so looking for a key is enough; the protocol is in docs/command-protocol.md. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef ROUND
#define ROUND(x) rint(x) /* halves to even */
#endif
enum { MOST_AXES = 8 };

static void *check(void *memory) {
    if (!memory) { fputs("out of memory", stderr); exit(1); }
    return memory;
}

static char *slurp(const char *name) {
    FILE *file = fopen(name, "rb");
    if (!file) { perror(name); exit(1); }
    fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file);
    rewind(file);
    char *content = check(calloc(size + 1, 1));
    if (fread(content, 1, size, file) != size) { perror(name); exit(1); }
    fclose(file);
    return content;
}

/* What follows "key": in a piece of JSON. */
static const char *value(const char *json, const char *key) {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    const char *found = strstr(json, quoted);
    if (!found) { fprintf(stderr, "no %s", quoted); exit(1); }
    return found + strlen(quoted) + strspn(found + strlen(quoted), ": \n");
}

static int is_true(const char *json, const char *key) { return *value(json, key) == 't'; }

static int numbers(const char *list, long *into) {
    int count = 0;
    for (list++; count < MOST_AXES && *list != ']'; list += strspn(list, ", \n"))
        into[count++] = strtol(list, (char **)&list, 10);
    return count;
}

static void answer(const char *json) { /* last of all: its presence says that all is there */
    FILE *file = fopen("result.json.part", "wb");
    if (!file || fputs(json, file) < 0 || fclose(file)) exit(1);
    if (rename("result.json.part", "result.json")) exit(1);
    exit(0);
}

static int describe(char *text, const char *name, const char *dtype, const long *shape, int rank,
                    size_t start, size_t end) {
    int at = sprintf(text, "\"%s\":{\"dtype\":\"%s\",\"shape\":[", name, dtype);
    for (int i = 0; i < rank; i++) at += sprintf(text + at, i ? ",%ld" : "%ld", shape[i]);
    return at + sprintf(text + at, "],\"data_offsets\":[%zu,%zu]}", start, end);
}

int main(int argc, char **argv) {
    if (argc < 2 || chdir(argv[argc - 1])) { fputs("usage: plain_c CASE_FOLDER", stderr); return 1; }
    const char *json = slurp("case.json");
    if (strtol(value(json, "protocol"), NULL, 10) != 1) { fputs("only protocol 1", stderr); return 1; }
    if (!strncmp(value(json, "verb"), "\"describe\"", 10))
        answer("{\"protocol\":1,\"name\":\"plain-c\",\"version\":\"1.0\",\"verbs\":[\"quantize_weight\"]}");

    const char *arrays = slurp("case.safetensors"); /* 8 bytes of length, JSON, data */
    uint64_t header;
    memcpy(&header, arrays, 8);
    const char *entry = value(arrays + 8, "weight");
    if (strncmp(value(entry, "dtype"), "\"F32\"", 5))
        answer("{\"protocol\":1,\"status\":\"unsupported\",\"message\":\"only float32\"}");
    long shape[MOST_AXES], size[MOST_AXES], blocks[MOST_AXES], offsets[2];
    int rank = numbers(value(entry, "shape"), shape);
    numbers(value(entry, "data_offsets"), offsets);
    const float *weight = (const float *)(arrays + 8 + header + offsets[0]);
    numbers(value(json, "block_shape"), size);
    size_t count = 1, parameters = 1;
    for (int i = 0; i < rank; i++) {
        if (!size[i]) size[i] = shape[i];
        if (size[i] < 0 || shape[i] % size[i])
            answer("{\"protocol\":1,\"status\":\"error\",\"message\":\"the blocks do not fit\"}");
        blocks[i] = shape[i] / size[i];
        count *= (size_t)shape[i];
        parameters *= (size_t)blocks[i];
    }

    int lowest = (int)strtol(value(json, "lowest"), NULL, 10), is_symmetric = is_true(json, "symmetric");
    int highest = (int)strtol(value(json, "highest"), NULL, 10), is_signed = is_true(json, "signed");
    int middle = (int)strtol(value(json, "middle"), NULL, 10), stores_zero = is_true(json, "stores_zero_point");
    uint8_t *codes = check(malloc(count)), *zero = check(malloc(parameters));
    float *scale = check(malloc(parameters * 4)), *low = check(calloc(parameters, 4));
    float *high = check(calloc(parameters, 4));
    size_t *block = check(malloc(count * sizeof *block)); /* which one each weight is in */
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(weight[i]))
            answer("{\"protocol\":1,\"status\":\"error\",\"message\":\"the weight is not finite\"}");
        size_t rest = i, stride = 1, at = 0;
        for (int axis = rank; axis--; rest /= (size_t)shape[axis], stride *= (size_t)blocks[axis])
            at += rest % (size_t)shape[axis] / (size_t)size[axis] * stride;
        low[at] = fminf(low[at], weight[i]);
        high[at] = fmaxf(high[at], weight[i]);
        block[i] = at;
    }
    for (size_t at = 0; at < parameters; at++) {
        if (is_symmetric) low[at] = -(high[at] = fmaxf(high[at], -low[at]));
        double range = high[at] - low[at], balance = (float)lowest * high[at] - (float)highest * low[at];
        if (!isfinite(range) || !isfinite(balance)) { /* beyond what a float can hold */
            range = (double)high[at] - low[at];
            balance = (double)lowest * high[at] - (double)highest * low[at];
        }
        scale[at] = (float)(range / (highest - lowest));
        if (scale[at] == 0 && range > 0) scale[at] = 0x1p-149f; /* the smallest there is */
        double z = is_symmetric ? middle : range == 0 ? 0 : rint((float)(balance / range));
        zero[at] = (uint8_t)(int)fmin(fmax(z, lowest), highest);
    }
    for (size_t i = 0; i < count; i++) {
        float step = scale[block[i]];
        int z = is_signed ? (int8_t)zero[block[i]] : zero[block[i]];
        double code = step > 0 ? ROUND(weight[i] / step) + z : 0; /* a block of zeros has codes 0 */
        codes[i] = (uint8_t)(int)fmin(fmax(code, lowest), highest);
    }

    char text[2048] = "{";
    const char *dtype = is_signed ? "I8" : "U8";
    size_t scales = count + 4 * parameters;
    int length = 1 + describe(text + 1, "codes", dtype, shape, rank, 0, count);
    length += sprintf(text + length, ",");
    length += describe(text + length, "scale", "F32", blocks, rank, count, scales);
    if (stores_zero) {
        length += sprintf(text + length, ",");
        length += describe(text + length, "zero_point", dtype, blocks, rank, scales, scales + parameters);
    }
    length += sprintf(text + length, "}");
    header = (uint64_t)length;
    FILE *file = fopen("result.safetensors.part", "wb");
    if (!file) { perror("result.safetensors"); return 1; }
    fwrite(&header, 8, 1, file);
    fwrite(text, 1, header, file);
    fwrite(codes, 1, count, file);
    fwrite(scale, 4, parameters, file);
    if (stores_zero) fwrite(zero, 1, parameters, file);
    if (ferror(file) || fclose(file) || rename("result.safetensors.part", "result.safetensors")) return 1;
    answer("{\"protocol\":1,\"status\":\"ok\"}");
}
