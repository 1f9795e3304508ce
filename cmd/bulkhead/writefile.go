package main

import (
	"fmt"
	"os"
	"path/filepath"

	"bulkhead/pkg/config"
)

// writeNew writes one file of the starter site, never over another.
func writeNew(dir, name string) error {
	text := []byte(starter[name])
	if name == "bulkhead.schema.json" {
		text = config.Schema()
	}
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("cannot make the site directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("cannot write the site directory: %w", err)
	}
	_, err = f.Write(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// writeFile replaces a file as a whole: who reads it meanwhile sees the old report
// or the new one.
func writeFile(name string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // of no use once it is renamed
	_, err = f.Write(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
