#ifndef SCATTERC_H
#define SCATTERC_H
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif

/* A loaded plan. */
typedef struct scatterc_program scatterc_program;

/* What functions that return int return. */
enum {
    SCATTERC_OK = 0,
    SCATTERC_ARGUMENT = 1, /* an argument is NULL, out of range or of the wrong length */
    SCATTERC_LIBRARY = 2,  /* the library holds no plan, a damaged one, or not the one of the header */
    SCATTERC_LOAD = 3,     /* the plan cannot be loaded: memory, threads, processor */
    SCATTERC_RUN = 4,      /* the run failed */
    SCATTERC_INTERNAL = 5  /* a fault of the library itself */
};

/* Loads the plan of the library; checksum NULL accepts any. */
int scatterc_open(const char *checksum, int threads, scatterc_program **program);
/* Frees a program; NULL is allowed. */
void scatterc_close(scatterc_program *program);
/* What went wrong in the last call of this thread; empty after success, valid until the next call of this thread. */
const char *scatterc_message(void);
/* Number of inputs, or of outputs where `outputs` is not 0. */
int scatterc_count(const scatterc_program *program, int outputs);
/* Name and number of doubles of an input or output; NULL where there is none. */
const char *scatterc_port(const scatterc_program *program, int outputs, int index, size_t *length);
/* Runs the plan on arrays in the order of scatterc_port. */
int scatterc_run(const scatterc_program *program, const double *const *inputs, const size_t *input_lengths, int input_count,
                 double *const *outputs, const size_t *output_lengths, int output_count);

#ifdef __cplusplus
}
#endif
#endif
