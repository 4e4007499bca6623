"""Floor 3: Streamlit pages, one per question."""
