// Package estate generates the sites that Bulkhead is measured on: the estate of
// 100,000 addresses, 500 groups and 2,000 policies that all figures are about,
// its variants, and a few sites of another shape.
//
// What it generates follows from a published seed and from nothing else, by a
// random generator that is written out here: whoever repeats a measurement has
// the same addresses, groups and policies to the last bit, and a test holds their
// digests. Variants draw what they change from random streams of their own, so
// that two variants differ in that alone.
//
// Every site comes twice: as the values that the loader and the merge of sources
// give, positions and provenance included, and as the text of a site directory
// from which they give it. A test holds the two together.
package estate
