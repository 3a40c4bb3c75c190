"""What reads images: judges that tell emotion or scene, and whatever else sees. One file, one encoder."""
