/* bytes.upper, for all bytes-like objects, in the processor's widest instructions. echoup/upper.py does without. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000 /* one build serves Python 3.11 and all later versions */
#include <Python.h>

#if defined(__GNUC__) || defined(__clang__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* GCC (with -O3) and clang make vector instructions of this loop: those of the function that it is inlined in. */

INLINE void
convert(const unsigned char *restrict input, unsigned char *restrict output, Py_ssize_t size)
{
    for (Py_ssize_t i = 0; i < size; i++) {
        output[i] = input[i] - ((unsigned char)(input[i] - 'a') < 26 ? 32 : 0);
    }
}

INLINE PyObject *
upper(PyObject *data)
{
    Py_buffer view = {0};
    if (PyBytes_Check(data)) { /* faster than by the buffer protocol */
        view.buf = PyBytes_AsString(data);
        view.len = PyBytes_Size(data);
    }
    else if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }

    /* Without content this returns new bytes, except for size 0: those are shared, but there is nothing to write. */
    PyObject *result = PyBytes_FromStringAndSize(NULL, view.len);
    if (result != NULL) {
        convert(view.buf, (unsigned char *)PyBytes_AsString(result), view.len);
    }
    PyBuffer_Release(&view);
    return result;
}

/* A variant is `upper`, compiled for certain processors. */

#define VARIANT(name, attributes)                                                                \
    attributes static PyObject *name(PyObject *Py_UNUSED(module), PyObject *data)                \
    {                                                                                            \
        return upper(data);                                                                      \
    }                                                                                            \
    static PyMethodDef name##_method = {                                                         \
        "upper", name, METH_O,                                                                   \
        "upper($module, data, /)\n--\n\n"                                                        \
        "Return the bytes of `data`, a bytes-like object, with `a` to `z` turned into `A` to `Z`." \
    };

VARIANT(baseline, )
#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#define BASELINE "C, SSE2"
#define HAS_DISPATCH
VARIANT(avx2, __attribute__((target("avx2"))))
VARIANT(avx512, __attribute__((target("avx512bw,avx512vl"))))
#elif defined(__ARM_NEON)
#define BASELINE "C, NEON"
#else
#define BASELINE "C"
#endif

/* Add a variant, which replaces the one before as `upper`. */

static int
add(PyObject *module, PyObject *variants, const char *name, PyMethodDef *method)
{
    PyObject *function = PyCFunction_New(method, module);
    if (function == NULL) {
        return -1;
    }
    int result = PyDict_SetItemString(variants, name, function);
    if (result == 0) {
        result = PyModule_AddObjectRef(module, "upper", function);
    }
    if (result == 0) {
        result = PyModule_AddStringConstant(module, "IMPLEMENTATION", name);
    }
    Py_DECREF(function);
    return result;
}

/* Add the variants that run on this processor, the fastest last; the tests find all of them in `_variants`. */

static int
execute(PyObject *module)
{
    PyObject *variants = PyDict_New();
    if (variants == NULL) {
        return -1;
    }
    int result = PyModule_AddObjectRef(module, "_variants", variants);
    if (result == 0) {
        result = add(module, variants, BASELINE, &baseline_method);
    }
#ifdef HAS_DISPATCH
    if (result == 0 && __builtin_cpu_supports("avx2")) {
        result = add(module, variants, "C, AVX2", &avx2_method);
    }
    if (result == 0 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
        result = add(module, variants, "C, AVX-512", &avx512_method);
    }
#endif
    Py_DECREF(variants);
    return result;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "echoup._upper",
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__upper(void)
{
    return PyModuleDef_Init(&definition);
}
