package reconcile

import (
	"encoding/json"
	"fmt"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/config"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/driver"
)

// inputs is all that a site is worked out from, but for the time: what a rollback
// needs to work it out again.
type inputs struct {
	FormatVersion string             `json:"formatVersion"`
	Files         map[string][]byte  `json:"files"`   // of the site directory
	Reports       []inventory.Report `json:"reports"` // of its sources
}

const inputsFormat = "1.0"

// Inputs writes down what the site was worked out from. It holds no secret: a site
// directory names where secrets are.
func (s *Site) Inputs() ([]byte, error) {
	return json.Marshal(inputs{inputsFormat, s.Config.Files, s.Reports})
}

// FromInputs works a site out again, as it would be now. Diagnostics are complete:
// the site is nil exactly if one of them is an error.
func FromInputs(b []byte, now time.Time, kinds []driver.Kind, q ...Quarantine) (*Site, *diag.List, error) {
	var in inputs
	if err := json.Unmarshal(b, &in); err != nil || in.FormatVersion != inputsFormat {
		return nil, nil, fmt.Errorf("not the inputs of a site that this version knows")
	}
	cfg, diags := config.LoadFiles(in.Files)
	if diags.HasErrors() {
		return nil, diags, nil
	}
	s, err := Build(cfg, append([]inventory.Report{cfg.Report()}, in.Reports...), now, kinds, diags, q...)
	return s, diags, err
}
