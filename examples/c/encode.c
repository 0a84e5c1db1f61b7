/* Runs the exported statistic `s2scat` at L = 8 on a made-up field and prints its outputs exactly, as hexadecimal doubles.
 *
 *   scatterc export s2scat --bandlimit 8 --out lib
 *   cc -Ilib examples/c/encode.c -o encode -Llib -ls2scat -Wl,-rpath,lib
 */
#include "s2scat.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void print(const char *name, const double *values, size_t length) {
    for (size_t k = 0; k < length; k++) {
        printf("%s %zu %a\n", name, k, values[k]);
    }
}

int main(void) {
    /* Coefficients [L, L] of a real field, (re, im) pairs: zero above the diagonal, real at m = 0. */
    static double x[S2SCAT_x_LENGTH];
    const size_t L = 8;
    uint64_t state = 7;
    for (size_t ell = 0; ell < L; ell++) {
        for (size_t m = 0; m <= ell; m++) {
            for (size_t part = 0; part < (m == 0 ? 1u : 2u); part++) {
                state = state * 6364136223846793005u + 1442695040888963407u;
                x[2 * (ell * L + m) + part] = ((double)(state >> 11) / 4503599627370496.0 - 1.0) / (double)(1 + ell);
            }
        }
    }
    s2scat *program = NULL;
    if (s2scat_open(&program, 1) != SCATTERC_OK) {
        fprintf(stderr, "%s\n", s2scat_message());
        return 1;
    }
    /* The generic functions name inputs and outputs, so that this file does not depend on how many there are. */
    const int count = scatterc_count(program, 1);
    double **outputs = calloc((size_t)count, sizeof *outputs);
    size_t *lengths = calloc((size_t)count, sizeof *lengths);
    for (int k = 0; k < count; k++) {
        scatterc_port(program, 1, k, &lengths[k]);
        outputs[k] = calloc(lengths[k], sizeof **outputs);
    }
    const double *inputs[] = {x};
    const size_t input_lengths[] = {S2SCAT_x_LENGTH};
    if (scatterc_run(program, inputs, input_lengths, 1, outputs, lengths, count) != SCATTERC_OK) {
        fprintf(stderr, "%s\n", s2scat_message());
        return 1;
    }
    for (int k = 0; k < count; k++) {
        print(scatterc_port(program, 1, k, NULL), outputs[k], lengths[k]);
        free(outputs[k]);
    }
    free(outputs);
    free(lengths);
    /* A wrong length is refused, with a message. */
    if (scatterc_run(program, inputs, input_lengths, 0, NULL, NULL, 0) != SCATTERC_ARGUMENT || s2scat_message()[0] == '\0') {
        return 2;
    }
    s2scat_close(program);
    return 0;
}
