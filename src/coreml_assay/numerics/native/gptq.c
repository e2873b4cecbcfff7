/* The sweep of GPTQ; numerics/gptq/kernel.py calls it. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LANES 64 /* as in kernel.py */
#define KERNEL "gptq.h"
#include "every_isa.h"
