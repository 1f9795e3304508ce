// Package harness takes the figures of Bulkhead's benchmark.
//
// Every measurement runs in a process of its own, in namespaces of its own, that
// ends with it: no measurement inherits a warm heap, a grown peak of memory or a
// kernel table of another. Variants that are compared take turns within one run (A
// B A B), so that a machine that slows down slows both, and a ratio is of medians,
// with the range of the ratios of neighbours.
//
// What counts is CPU time, user and system, as getrusage(2) tells it of the process:
// the kernel loads rules inside of sendmsg(2), so its work is in the system time
// of whoever loads. What it frees later, in threads of its own, is in nobody's.
//
// A figure counts only if its checks hold. A measurement that reports a failed
// check, or none of the figures that its goals are about, fails its row, and a
// failed row fails the benchmark.
package harness
