//go:build race

package tries

// All says that all cases are tried. How often something has to have come up among them,
// lest a test show little, is asked only then.
const All = false
