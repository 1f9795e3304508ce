package driver

// Enrolment is the key by which a device is known, as it shows it, and what is known of
// it so far. That it is the device that answers, nothing says: somebody has to compare
// the fingerprint with the device's own word.
type Enrolment struct {
	Address     string
	Key         string   // its kind: "ssh-ed25519"
	Fingerprint string   // "SHA256:..."
	Known       []string // fingerprints that are enrolled for the address
	File        string   // where they are
	// Remember enrols the key. It is an error where another one is enrolled, unless that
	// is to be replaced.
	Remember func(replace bool) error
}
