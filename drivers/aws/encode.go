package aws

import (
	"encoding/json"
	"fmt"

	"bulkhead/pkg/driver"
)

// format names what is written; another one is not read.
const format = "aws 1"

type form struct {
	Format string `json:"format"`
	State  *State `json:"state"`
}

// Encode writes a state down as JSON.
func Encode(s driver.State) ([]byte, error) {
	st, err := stateOf(s)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(form{format, st})
	if err != nil {
		return nil, fmt.Errorf("a state of security groups cannot be written down: %w", err)
	}
	back, err := Decode(b)
	if err != nil {
		return nil, err
	}
	// A name that is not UTF-8 would come back as another one. What cannot be read back is
	// found now, not on the day when it is needed.
	if back.Fingerprint() != st.Fingerprint() {
		return nil, fmt.Errorf("the security groups of site %q cannot be written down exactly", st.Site)
	}
	return b, nil
}

// Decode reads what Encode wrote.
func Decode(b []byte) (driver.State, error) {
	var f form
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("not a written state of security groups: %w", err)
	}
	if f.Format != format || f.State == nil {
		return nil, fmt.Errorf("a state of security groups in the format %q; this program knows %q", f.Format, format)
	}
	return f.State, nil
}
