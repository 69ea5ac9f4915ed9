enum LanfsTreePlaceholder {}
