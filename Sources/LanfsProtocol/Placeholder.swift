enum LanfsProtocolPlaceholder {}
