"""Links, commands, options, SQL, names and quoted messages of all documents."""
