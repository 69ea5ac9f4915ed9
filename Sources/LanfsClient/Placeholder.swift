enum LanfsClientPlaceholder {}
